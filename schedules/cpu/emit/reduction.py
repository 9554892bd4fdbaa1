"""The reduction of a register tile: sums over runs of inputs and rows of packed weights.

Where the core multiplies by any lane of a register (NEON), inputs are loaded four at a time along
the reduction; elsewhere one element at a time is repeated over a vector's lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    convert,
    dtype_of,
    load,
    prefetch,
    registers,
    repeat_lane,
    splat,
    store,
)

#: bytes
CACHE_LINE = 64


@dataclass(frozen=True)
class Tile:
    """Output pixels of one microkernel call: ``rows`` x ``cols``."""

    rows: int
    cols: int

    @property
    def pixels(self) -> int:
        return self.rows * self.cols


@dataclass(frozen=True)
class Segment:
    """``k`` contiguous elements of A per pixel, repeated over ``repeats``.

    Element kk of repeat indices (r0, r1, ...) for pixel (i, j) of the tile is
    ``buffer[base + i*row_pitch + j*col_pitch + r0*step0 + r1*step1 + ... + kk]``;
    the packed weight row is ``k0 + (r0*count1*... + r1*... + ...)*k + kk``.
    """

    buffer: tirx.Buffer
    base: Expr | int
    row_pitch: int
    col_pitch: int
    k: int
    k0: int = 0
    repeats: tuple[tuple[int, int], ...] = ()  # (count, step)

    def at(self, base: Expr | int) -> Segment:
        """The same segment with ``base`` added to its address."""
        return Segment(
            self.buffer, self.base + base, self.row_pitch, self.col_pitch, self.k, self.k0,
            self.repeats,
        )  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """Packed weights (and bias) of one product with total reduction length ``k``.

    With a ``pitch`` they are a plain matrix instead, its rows so many elements apart.
    """

    buffer: tirx.Buffer
    bias: tirx.Buffer | None
    panels: Panels
    k: int
    base: Expr | int = 0  # offset of the first panel in ``buffer``
    by_lane: int = 0  # vector registers, where products may take a lane of a vector of A
    pitch: int = 0
    bias_base: Expr | int = 0  # offset of its first element in ``bias``

    @property
    def sums(self) -> DType:
        """Element type of the product's sums."""
        return dtype_of(self.buffer).accumulator

    def at(self, panel: Expr, k_index: Expr, width: int) -> Expr:
        """Address of row ``k_index`` of a panel of ``width`` columns."""
        first = panel * self.panels.lanes
        if self.pitch:
            return self.base + first + k_index * self.pitch
        return self.base + first * self.k + k_index * width


@dataclass(frozen=True)
class Group:
    """Panels handled together: ``count`` full ones from panel ``first``, then maybe the tail."""

    first: Expr | int
    full: int
    tail: int

    def widths(self, lanes: int) -> list[int]:
        """Vector width of each panel."""
        return [lanes] * self.full + ([self.tail] if self.tail else [])


@dataclass(frozen=True)
class PrefetchSlice:
    """What a tile fetches ahead: slice ``number`` of ``count``, one for each tile that shares a
    group's panels.

    The first one meets its panels in memory or in a far cache, the others in a near one. So the
    tiles together fetch the panels of the group to come, a few cache lines each. Weights are
    stored in the order in which a network uses them: behind the last group are those of the next
    product, be it of this kernel or of the next one, and where there is nothing, a fetch does no
    harm.
    """

    number: Expr
    count: int


class Reduction:
    """acc += A(segment) * B(group) over the segment's whole reduction; :meth:`emit` writes it.

    ``acc``: one accumulator array per panel of ``group``, of the type of the weights' sums, to
    which factors are widened; the reduction is unrolled ``unroll`` times.
    """

    def __init__(
        self, tile: Tile, segment: Segment, weights: Weights, group: Group,
        acc: Sequence[tirx.Buffer], unroll: int, fetch: PrefetchSlice | None = None,
    ) -> None:  # fmt: skip
        self.tile, self.segment, self.weights, self.group = tile, segment, weights, group
        self.acc, self.unroll, self.fetch = acc, unroll, fetch
        self.widths = group.widths(weights.panels.lanes)
        needed = tile.pixels * (len(self.widths) + 1) + len(self.widths)
        self.by_lane = needed <= weights.by_lane and unroll % 4 == 0

    def emit(self) -> None:
        """Write the whole reduction."""
        first = tirx.IntImm("int32", self.segment.k0)
        self._repeat(0, tirx.IntImm("int32", 0) + self.segment.base, first)

    def _repeat(self, depth: int, a_base: Expr, k_base: Expr) -> None:
        segment = self.segment
        if depth == len(segment.repeats):
            self._reduce(a_base, k_base)
            return
        count, step_a = segment.repeats[depth]
        inner = segment.k
        for n, _ in segment.repeats[depth + 1 :]:
            inner *= n
        with T.serial(0, count) as r:
            self._repeat(depth + 1, a_base + r * step_a, k_base + r * inner)

    def _reduce(self, a_base: Expr, k_base: Expr) -> None:
        unroll, k = self.unroll, self.segment.k
        main = k // unroll
        if main and self.by_lane:
            with T.serial(0, main) as ko, T.unroll(0, unroll // 4) as quad:
                at = ko * unroll + quad * 4
                self._four_steps(a_base + at, k_base + at)
        elif main == 1:
            for kk in range(unroll):
                self._step(a_base + kk, k_base + kk)
        elif main:
            with T.serial(0, main) as ko:
                self._fetch_ahead(k_base + ko * unroll)
                with T.unroll(0, unroll) as ki:
                    self._step(a_base + ko * unroll + ki, k_base + ko * unroll + ki)
        for kk in range(main * unroll, k):
            self._step(a_base + kk, k_base + kk)

    def _fetch_ahead(self, k_index: Expr) -> None:
        """This tile's slice of the next group's panels, for ``unroll`` steps from ``k_index``."""
        if self.fetch is None:
            return
        weights, lanes, panels = self.weights, self.weights.panels.lanes, len(self.widths)
        start = weights.at(self.group.first + panels, 0, lanes)
        line = CACHE_LINE // dtype_of(weights.buffer).bytes
        lines = -(-self.unroll * panels * lanes // (line * self.fetch.count))
        at = start + (self.fetch.number * weights.k + k_index) * lines * line // self.unroll
        for n in range(lines):
            prefetch(weights.buffer, at + n * line)

    def _step(self, a_base: Expr, k_index: Expr) -> None:
        """One element of A per pixel, repeated over the lanes."""
        with self._pixels(a_base) as (pixel, at):
            a = self.segment.buffer[at]
            self._multiply(pixel, k_index, lambda width: splat(a, width))

    def _four_steps(self, a_base: Expr, k_index: Expr) -> None:
        """Four elements of A per pixel in one load; each product then takes one lane of it."""
        quads = registers(4 * self.tile.pixels, dtype_of(self.segment.buffer))
        with self._pixels(a_base) as (pixel, at):
            store(quads, load(self.segment.buffer, at, 4), pixel * 4, 4)
        for kk in range(4):
            with self._pixels(a_base) as (pixel, _):
                quad = load(quads, pixel * 4, 4)
                self._multiply(pixel, k_index + kk, partial(repeat_lane, quad, kk))

    @contextmanager
    def _pixels(self, base: Expr) -> Iterator[tuple[Expr, Expr]]:
        """The tile's pixels: number, and address of their elements in A."""
        segment, tile = self.segment, self.tile
        with T.unroll(0, tile.rows) as i, T.unroll(0, tile.cols) as j:
            yield i * tile.cols + j, base + i * segment.row_pitch + j * segment.col_pitch

    def _multiply(self, pixel: Expr, k_index: Expr, a: Callable[[int], Expr]) -> None:
        """Products of one element of A with a row of every panel."""
        weights, dtype = self.weights, self.weights.sums
        for panel, width in enumerate(self.widths):
            b = load(weights.buffer, weights.at(self.group.first + panel, k_index, width), width)
            total = load(self.acc[panel], pixel * width, width)
            total = total + convert(a(width), dtype) * convert(b, dtype)
            store(self.acc[panel], total, pixel * width, width)
