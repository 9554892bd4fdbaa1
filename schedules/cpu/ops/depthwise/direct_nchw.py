"""Depthwise convolution of an NCHW tensor into an NCHW tensor, for the borders of a network.

Vectors run along output columns, so that no layout needs changing: the image of one channel after
the other is read as it lies in memory. A tile of output rows of one vector of columns has its sums
in registers, and each input row is loaded once for all of them. Where the window moves by several
columns, the columns of one tap are picked out of as many vectors; those beyond the sides come as
zeros out of the same shuffle. No padded copy of the input is made. The last vector of a row ends
where the row ends and may overlap the one before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import NCHW, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.activations import Activation
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import for_flat, parallel, tile_count
from tvm_flow.schedules.cpu.emit.reduction import CACHE_LINE
from tvm_flow.schedules.cpu.emit.sliding import where_row_exists
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    bind,
    dtype_of,
    load,
    pick,
    prefetch,
    registers,
    splat,
    store,
)
from tvm_flow.schedules.operators.depthwise import DEPTHWISE
from tvm_flow.schedules.operators.sliding import Sliding


@dataclass(frozen=True)
class ImageShape(Sliding):
    """Images of ``c`` channels."""

    c: int

    def width(self, lanes: int) -> int:
        """Columns per vector: the greatest power of two up to ``lanes`` that no row of the input
        or output is shorter than."""
        return 1 << (min(lanes, self.w, self.ow).bit_length() - 1)


class DirectNchw(CpuAlgorithm):
    """See the module's text."""

    operator, name = DEPTHWISE, "direct"
    layouts = (NCHW,)

    def applies(self, problem: Problem, device: Cpu) -> bool:
        if not super().applies(problem, device):
            return False
        return problem["cp"] == problem["c"] and not problem.get("post", 0)

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = ImageShape.of(problem)
        return packed(problem, weight=s.c * s.kh * s.kw, bias=s.c)

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [weights["weight"].reshape(-1), weights["bias"]]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = ImageShape.of(problem)
        far = problem.dtype.bytes * s.n * s.c * s.h * s.w > device.l2_bytes and not device.by_lane
        return {"th": min(s.oh, _rows(s, device, far)), "ahead": 4 if far else 0}

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = ImageShape.of(problem), self.default(problem, device)
        choices = {
            "th": [t for t in (1, 2, 3, 4, 5, 7, 8, 10, 14) if t <= s.oh],
            "ahead": [0, 2, 4, 8],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s, height = ImageShape.of(problem), knobs["th"]
        device.check_window_tile(height)
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            act = activations.emitter(problem.text("act"), device)
            emitter = _ImageEmitter(s, s.width(device.lanes), act, args, knobs["ahead"])
            with parallel(s.n * s.c, device.threads) as image:
                emitter.image(image, height)
        return builder.get()


def _rows(s: ImageShape, cpu: Cpu, far: bool) -> int:
    """Output rows of a tile, for an input that is ``far`` if it does not fit L2.

    High tiles load each input row for more output rows; low ones leave the fetches ahead of a far
    input time to arrive. By lane, LLVM keeps all weights repeated over the lanes: with these rows
    it does not spill (decision 0006).
    """
    if cpu.by_lane:
        return 3 if s.sh == 1 and s.kh * s.kw <= 9 else 2
    if s.sh == 1:
        return 7 if cpu.registers >= 32 else 4
    return 2 if far else 4


@dataclass(frozen=True)
class _ColumnVectors:
    """Vectors of output columns that read alike: ``count`` side by side, the first at ``first``."""

    first: int
    count: int = 1


class _ImageEmitter:
    """Emits images of one channel, ``width`` columns per vector. What will be read is fetched
    ``ahead`` KiB before (0: not at all)."""

    def __init__(
        self,
        s: ImageShape,
        width: int,
        act: Activation,
        args: Mapping[str, tirx.Buffer],
        ahead: int,
    ) -> None:
        self.s, self.width, self.act, self.args = s, width, act, args
        self.element = dtype_of(args["x"]).bytes
        self.ahead = ahead * 1024 // self.element

    def image(self, image: Expr, height: int) -> None:
        """Image ``image`` of the n * c there are, ``height`` output rows at a time."""
        s = self.s
        tiles = (0, tile_count(s.oh, height))
        for_flat(tiles, s.oh, height, lambda rows, row, _: self._band(image, row, rows))

    def _band(self, image: Expr, row: Expr, rows: int) -> None:
        """``rows`` output rows from ``row`` on."""
        s = self.s
        if self.ahead:
            start = T.bind((image * s.h + row * s.sh) * s.w + self.ahead)
            for at in range(0, rows * s.sh * s.w, CACHE_LINE // self.element):
                prefetch(self.args["x"], start + at)
        for spots in self._spots():
            if spots.count == 1:
                self._tile(image, row, rows, spots.first, 0)
            else:
                with T.serial(0, spots.count) as t:
                    self._tile(image, row, rows, spots.first, t * self.width)

    def _spots(self) -> list[_ColumnVectors]:
        """The vectors of a row; neighbours that read nothing beyond the sides share a loop."""
        s, width = self.s, self.width
        spots = []
        for inside, same in groupby(range(0, s.ow - width + 1, width), self._inside):
            firsts = list(same)
            spots += (
                [_ColumnVectors(firsts[0], len(firsts))]
                if inside
                else [_ColumnVectors(f) for f in firsts]
            )
        return spots if s.ow % width == 0 else [*spots, _ColumnVectors(s.ow - width)]

    def _inside(self, first: int) -> bool:
        """Whether all vectors read for the output columns from ``first`` on lie in the row."""
        s = self.s
        left, right = -s.pw // s.sw, (s.span_w - 1 - s.pw) // s.sw
        return (first + left) * s.sw >= 0 and (first + right + self.width) * s.sw <= s.w

    def _tile(self, image: Expr, row: Expr, rows: int, first: int, shift: Expr) -> None:
        """One vector of columns of ``rows`` output rows. It is at ``first + shift`` and differs
        from the one at ``first`` in its addresses only."""
        s, width = self.s, self.width
        acc = registers(rows * width)
        for i in range(rows):
            store(acc, splat(self.args["bias"][image % s.c], width), i * width, width)
        for y in range((rows - 1) * s.sh + s.span_h):
            if s.idle_row(y, rows):
                continue
            with where_row_exists(s, row, y, rows):
                line = T.bind((image * s.h + row * s.sh - s.ph + y) * s.w + shift * s.sw)
                self._input_row(acc, line, image % s.c, y, rows, first)
        for i in range(rows):
            out = self.act(partial(load, acc, i * width, width), width)
            store(self.args["y"], out, (image * s.oh + row + i) * s.ow + first + shift, width)

    def _input_row(
        self, acc: tirx.Buffer, line: Expr, channel: Expr, y: int, rows: int, first: int
    ) -> None:
        """Input row ``y``, counted from the tile's first: each of its vectors once, for all the
        taps it is read by."""
        s, width = self.s, self.width
        read = cache(lambda column: bind(load(self.args["x"], line + column, width), width))
        for dx in range(s.kw):
            columns, lanes = self._sought(first, dx)
            if not columns:
                continue
            value = bind(pick([read(column)() for column in columns], lanes, width), width)
            for i in range(rows):
                dy = s.tap_row(y - i * s.sh)
                if dy is not None:
                    weight = self.args["weight"][(channel * s.kh + dy) * s.kw + dx]
                    total = load(acc, i * width, width) + value() * splat(weight, width)
                    store(acc, total, i * width, width)

    def _sought(self, first: int, dx: int) -> tuple[list[int], list[int | None]]:
        """Where tap ``dx`` of the output columns from ``first`` on finds its inputs: the columns
        at which vectors of a row start, and which of their lanes it needs, ``None`` for zero.

        They are the ``sw`` vectors from a multiple of ``sw`` on, so that several taps share them;
        one that would reach beyond a side is moved into the row.
        """
        s, width = self.s, self.width
        offset, rest = divmod(dx * s.dw - s.pw, s.sw)
        start = (first + offset) * s.sw
        vectors: list[int] = []
        lanes: list[int | None] = []
        for at in range(rest, s.sw * width, s.sw):
            if not 0 <= start + at < s.w:
                lanes.append(None)
                continue
            vector = min(max(start + at // width * width, 0), s.w - width)
            if vector not in vectors:
                vectors.append(vector)
            lanes.append(vectors.index(vector) * width + start + at - vector)
        return vectors, lanes
