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

from schedules.microkernel import for_flat, parallel, tile_count
from schedules.sliding import Sliding
from schedules.vector import Expr, load, loop, pieces, registers, store


@dataclass(frozen=True)
class WindowShape(Sliding):
    """Images with ``cp`` channels, of which ``c`` from ``c0`` are swept."""

    c: int
    cp: int
    c0: int

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


@dataclass(frozen=True)
class RowSweep:
    """Sweeps one output row at a time.

    ``tile`` columns of one channel panel share registers. ``in_row`` and ``out_row`` give the
    pixel number at which an input or output row starts in ``x`` (``cp`` channels per pixel) and
    ``y`` (``c`` channels per pixel): rows of a tensor, or of a ring of rows.
    """

    shape: WindowShape
    x: tirx.Buffer
    y: tirx.Buffer
    how: Accumulation
    tile: int
    lanes: int
    in_row: Callable[[Expr], Expr]
    out_row: Callable[[Expr], Expr]

    def emit(self, row: Expr) -> None:
        """Output row ``row``: border columns, whose taps are known, then interior tiles."""
        s = self.shape
        first, stop = s.interior
        for column in [*range(min(first, s.ow)), *range(max(stop, first), s.ow)]:
            self._columns(1, tirx.IntImm("int32", column), row, False)
        if stop > first:
            span = stop - first
            largest = min(self.tile, span)
            for_flat(
                (0, tile_count(span, largest)),
                span,
                largest,
                lambda size, column, _: self._columns(size, column + first, row, True),
            )

    def _columns(self, size: int, column: Expr, row: Expr, inside: bool) -> None:
        """``size`` columns: whole vectors in a loop, then power-of-two pieces."""
        channels = self.shape.c
        whole = channels // self.lanes
        if whole:
            with T.serial(0, whole) as v:
                self._tile(size, column, row, inside, v * self.lanes, self.lanes)
        for offset, width in pieces(channels - whole * self.lanes, self.lanes):
            channel = tirx.IntImm("int32", whole * self.lanes + offset)
            self._tile(size, column, row, inside, channel, width)

    def _tile(
        self, size: int, column: Expr, row: Expr, inside: bool, channel: Expr, width: int
    ) -> None:
        """``size`` output columns of one channel panel."""
        s, how = self.shape, self.how
        top = row * s.sh - s.ph
        acc = registers(size * width)
        for j in range(size):
            store(acc, how.start(channel, width), j * width, width)
        low = tirx.Max(tirx.IntImm("int32", 0), 0 - top)
        high = tirx.Min(tirx.IntImm("int32", s.kh), s.h - top)
        with loop(low, high) as dy:
            line = self.in_row(top + dy)
            for j in range(size):
                for dx in range(s.kw):
                    if not inside and not 0 <= int(column) * s.sw - s.pw + dx < s.w:
                        continue
                    at = (line + (column + j) * s.sw - s.pw + dx) * s.cp + s.c0 + channel
                    value = load(self.x, at, width)
                    total = how.tap(load(acc, j * width, width), value, dy, dx, channel, width)
                    store(acc, total, j * width, width)
        for j in range(size):
            out = how.finish(partial(load, acc, j * width, width), channel, width)
            store(self.y, out, (self.out_row(row) + column + j) * s.c + channel, width)


def sweep(
    s: WindowShape, x: tirx.Buffer, y: tirx.Buffer, how: Accumulation, *, tile: int, rows: int,
    lanes: int, threads: int,
) -> None:  # fmt: skip
    """Emit the whole operator: parallel over images and blocks of ``rows`` output rows."""
    blocks = -(-s.oh // rows)
    with parallel(s.n * blocks, threads) as task:
        image, block = task // blocks, task % blocks
        count = rows if s.oh % rows == 0 else tirx.Min(s.oh - block * rows, rows)
        rows_of = RowSweep(
            s, x, y, how, tile, lanes,
            in_row=lambda row: (image * s.h + row) * s.w,
            out_row=lambda row: (image * s.oh + row) * s.ow,
        )  # fmt: skip
        with T.serial(0, count) as r:
            rows_of.emit(block * rows + r)
