"""Sliding windows over NHWC, vectorised over channels: the sweep of depthwise and pooling.

Each output row is cut into border columns, whose taps are known when the kernel is generated, and
interior tiles, which test nothing. Rows at the top and bottom shorten the loop over tap rows. No
padded copy of the input is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from schedules.base import Workload
from schedules.microkernel import for_flat, parallel, tile_count
from schedules.vector import Expr, load, pieces, registers, store


@dataclass(frozen=True)
class WindowShape:
    """n images of h x w with ``cp`` channels, of which ``c`` from ``c0`` are swept."""

    n: int
    h: int
    w: int
    c: int
    cp: int
    c0: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int

    @classmethod
    def of(cls, workload: Workload) -> WindowShape:
        return cls(**{name: workload[name] for name in cls.__dataclass_fields__})

    @property
    def oh(self) -> int:
        return (self.h + 2 * self.ph - self.kh) // self.sh + 1

    @property
    def ow(self) -> int:
        return (self.w + 2 * self.pw - self.kw) // self.sw + 1

    @property
    def interior(self) -> tuple[int, int]:
        """Output columns [first, stop) all of whose taps are inside the input."""
        first = -(-self.pw // self.sw)
        stop = (self.w + self.pw - self.kw) // self.sw + 1
        return (first, stop) if stop > first else (self.ow, self.ow)


@dataclass(frozen=True)
class Accumulation:
    """What is done in a window: ``start``, one ``tap``, ``finish`` (read, channel, width)."""

    start: Callable[[Expr, int], Expr]
    tap: Callable[[Expr, Expr, Expr, int, Expr, int], Expr]  # acc, x, dy, dx, channel, width
    finish: Callable[[Callable[[], Expr], Expr, int], Expr]


def sweep(
    s: WindowShape, x: tirx.Buffer, y: tirx.Buffer, how: Accumulation, *, tile: int, rows: int,
    lanes: int, threads: int,
) -> None:  # fmt: skip
    """Emit the whole operator: parallel over images and blocks of ``rows`` output rows."""
    blocks = -(-s.oh // rows)
    with parallel(s.n * blocks, threads) as task:
        image, block = task // blocks, task % blocks
        count = rows if s.oh % rows == 0 else tirx.Min(s.oh - block * rows, rows)
        with T.serial(0, count) as r:
            _row(s, x, y, how, tile, lanes, image, block * rows + r)


def _row(
    s: WindowShape, x: tirx.Buffer, y: tirx.Buffer, how: Accumulation, tile: int, lanes: int,
    image: Expr, row: Expr,
) -> None:  # fmt: skip
    first, stop = s.interior
    border = [*range(min(first, s.ow)), *range(max(stop, first), s.ow)]
    top = row * s.sh - s.ph

    def columns(size: int, column: Expr, inside: bool) -> None:
        def panel(channel: Expr, width: int) -> None:
            _tile(s, x, y, how, image, row, top, column, size, inside, channel, width)

        _panels(s.c, lanes, panel)

    for column in border:
        columns(1, tirx.IntImm("int32", column), False)
    if stop > first:
        largest = min(tile, stop - first)
        tiles = tile_count(stop - first, largest)
        for_flat((0, tiles), stop - first, largest, lambda size, c: columns(size, c + first, True))


def _panels(channels: int, lanes: int, body: Callable[[Expr, int], None]) -> None:
    """``body(first channel, width)``: whole vectors in a loop, then power-of-two pieces."""
    whole = channels // lanes
    if whole:
        with T.serial(0, whole) as v:
            body(v * lanes, lanes)
    for offset, width in pieces(channels - whole * lanes, lanes):
        body(tirx.IntImm("int32", whole * lanes + offset), width)


def _tile(
    s: WindowShape, x: tirx.Buffer, y: tirx.Buffer, how: Accumulation, image: Expr, row: Expr,
    top: Expr, column: Expr, size: int, inside: bool, channel: Expr, width: int,
) -> None:  # fmt: skip
    """``size`` output columns of one channel panel."""
    acc = registers(size * width)
    for j in range(size):
        store(acc, how.start(channel, width), j * width, width)
    low = tirx.Max(tirx.IntImm("int32", 0), 0 - top)
    high = tirx.Min(tirx.IntImm("int32", s.kh), s.h - top)
    with T.serial(low, high) as dy:
        line = (image * s.h + top + dy) * s.w
        for j in range(size):
            for dx in range(s.kw):
                if not inside and not 0 <= int(column) * s.sw - s.pw + dx < s.w:
                    continue
                at = (line + (column + j) * s.sw - s.pw + dx) * s.cp + s.c0 + channel
                value = load(x, at, width)
                total = how.tap(load(acc, j * width, width), value, dy, dx, channel, width)
                store(acc, total, j * width, width)
    for j in range(size):
        out = how.finish(partial(load, acc, j * width, width), channel, width)
        store(y, out, ((image * s.oh + row) * s.ow + column + j) * s.c + channel, width)
