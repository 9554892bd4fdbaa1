"""Sliding windows over NHWC, vectorised over channels: the sweep of depthwise and pooling.

A tile of output rows and columns of one panel of channels has its sums in registers, and each
input element is loaded once for all of them. Output rows are cut into tiles at the borders, whose
taps are known when the kernel is generated, and tiles inside, which test nothing; input rows
outside of the image are skipped by a test per row. No padded copy of the input is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby, product

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.cpu.emit.microkernel import for_flat, parallel, tile_count
from tvm_flow.schedules.cpu.emit.packing import balanced
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.sliding import where_row_exists
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    bind,
    dtype_of,
    for_vectors,
    load,
    registers,
    store,
)
from tvm_flow.schedules.operators.sliding import WindowShape


@dataclass(frozen=True)
class Accumulation:
    """What is done in a window: ``start``, one ``tap``, ``finish`` (read, channel, width).

    Sums are of the type of ``start``; ``x`` comes to ``tap`` as it is in memory.
    """

    start: Callable[[Expr, int], Expr]
    tap: Callable[[Expr, Expr, Expr, int, Expr, int], Expr]  # acc, x, dy, dx, channel, width
    finish: Callable[[Callable[[], Expr], Expr, int], Expr]


#: A pixel of a tile by its number, and a tap by its row and column.
Tap = tuple[int, int, int]


@dataclass(frozen=True)
class WindowSweep(ABC):
    """Sweeps one or a few output rows at a time, ``tile`` columns together.

    ``in_row`` gives the pixel number at which an input row starts in ``x`` (``cp`` channels per
    pixel), ``out_row`` that of an output row: rows of a tensor, or of a ring of rows.
    """

    shape: WindowShape
    x: tirx.Buffer
    tile: int
    in_row: Callable[[Expr], Expr]
    out_row: Callable[[Expr], Expr]

    def emit(self, row: Expr, height: int = 1) -> None:
        """``height`` output rows from ``row`` on.

        Tiles at the borders, whose taps are known, are emitted one by one; neighbours inside of
        equal size share a loop.
        """
        for first, size, count, inside in self._runs():
            tile = Tile(height, size)
            if count == 1:
                self._columns(tile, tirx.IntImm("int32", first), row, inside)
            else:
                with T.serial(0, count) as t:
                    self._columns(tile, first + t * size, row, inside)

    def _runs(self) -> list[tuple[int, int, int, bool]]:
        """The row's tiles as (first column, size, how many, all taps inside the input)."""
        s = self.shape
        sizes = [size for size, n in balanced(s.ow, min(self.tile, s.ow)) for _ in range(n)]
        runs, first = [], 0
        for (size, inside), same in groupby(zip(sizes, self._inside(sizes), strict=True)):
            count = len(list(same))
            if inside:
                runs.append((first, size, count, True))
            else:
                runs += [(first + i * size, size, 1, False) for i in range(count)]
            first += count * size
        return runs

    def _inside(self, sizes: list[int]) -> list[bool]:
        """Of neighbouring tiles, from the first column on: whether all taps are inside."""
        s = self.shape
        ends = list(accumulate(sizes))
        return [
            (end - size) * s.sw >= s.pw and (end - 1) * s.sw - s.pw + s.span_w <= s.w
            for size, end in zip(sizes, ends, strict=True)
        ]

    @abstractmethod
    def _columns(self, tile: Tile, column: Expr, row: Expr, inside: bool) -> None:
        """One tile of pixels, all channels; ``inside``: all of its taps are inside the input."""

    def _row_start(self, row: Expr, y: Expr, column: Expr) -> Expr:
        """The pixel of input row ``y``, counted from the first that a tile at ``row`` and
        ``column`` reads, that is the tile's first."""
        s = self.shape
        return self.in_row(row * s.sh - s.ph + y) + column * s.sw - s.pw

    def _reads(
        self, tile: Tile, column: Expr, y: int, inside: bool
    ) -> Iterator[tuple[int, list[Tap]]]:
        """The pixels read of input row ``y`` of a tile: each column, counted from the tile's first,
        with all the taps that it is."""
        s = self.shape
        for x in range((tile.cols - 1) * s.sw + s.span_w):
            if not inside and not 0 <= int(column) * s.sw - s.pw + x < s.w:
                continue
            taps = [
                (i * tile.cols + j, dy, dx)
                for i, j in product(range(tile.rows), range(tile.cols))
                if (dy := s.tap_row(y - i * s.sh)) is not None
                and (dx := s.tap_column(x - j * s.sw)) is not None
            ]
            if taps:
                yield x, taps


@dataclass(frozen=True)
class RowSweep(WindowSweep):
    """The same where each output channel is computed from one input channel, into ``y`` (``c``
    channels per pixel); one panel of channels shares registers."""

    y: tirx.Buffer
    how: Accumulation
    lanes: int

    def _columns(self, tile: Tile, column: Expr, row: Expr, inside: bool) -> None:
        """Whole vectors in a loop, then power-of-two pieces."""
        for_vectors(
            self.shape.c, self.lanes, lambda c, w: self._tile(tile, column, row, inside, c, w)
        )

    def _tile(
        self, tile: Tile, column: Expr, row: Expr, inside: bool, channel: Expr, width: int
    ) -> None:
        """One tile of pixels of one channel panel. Input rows come one after the other, each for
        all output rows of the tile that it is a tap of."""
        s, how = self.shape, self.how
        acc = registers(tile.pixels * width, dtype_of(how.start(channel, width)))
        for i in range(tile.pixels):
            store(acc, how.start(channel, width), i * width, width)
        for y in range((tile.rows - 1) * s.sh + s.span_h):
            if s.idle_row(y, tile.rows):
                continue
            with where_row_exists(s, row, y, tile.rows):
                self._input_row(acc, tile, column, row, y, inside, channel, width)
        for i in range(tile.rows):
            for j in range(tile.cols):
                read = partial(load, acc, (i * tile.cols + j) * width, width)
                at = (self.out_row(row + i) + column + j) * s.c + channel
                store(self.y, how.finish(read, channel, width), at, width)

    def _input_row(
        self, acc: tirx.Buffer, tile: Tile, column: Expr, row: Expr, y: int, inside: bool,
        channel: Expr, width: int,
    ) -> None:  # fmt: skip
        """Input row ``y``, counted from the tile's first: each element once, for all its taps."""
        s = self.shape
        line = T.bind(self._row_start(row, y, column) * s.cp + s.c0 + channel)
        for x, taps in self._reads(tile, column, y, inside):
            value = bind(load(self.x, line + x * s.cp, width), width)
            for pixel, dy, dx in taps:
                slot = pixel * width
                total = load(acc, slot, width)
                store(acc, self.how.tap(total, value(), dy, dx, channel, width), slot, width)


def sweep(
    s: WindowShape, x: tirx.Buffer, y: tirx.Buffer, how: Accumulation, *, tile: Tile, rows: int,
    lanes: int, threads: int,
) -> None:  # fmt: skip
    """Emit the whole operator: parallel over images and blocks of about ``rows`` output rows."""

    def of_image(image: Expr) -> RowSweep:
        return RowSweep(
            s, x, tile.cols, y=y, how=how, lanes=lanes,
            in_row=lambda row: (image * s.h + row) * s.w,
            out_row=lambda row: (image * s.oh + row) * s.ow,
        )  # fmt: skip

    sweep_images(s, of_image, height=tile.rows, rows=rows, threads=threads)


def sweep_images(
    s: WindowShape, of_image: Callable[[Expr], WindowSweep], *, height: int, rows: int, threads: int
) -> None:
    """The same for any sweep of an image, ``height`` output rows at a time."""
    height = min(height, s.oh)
    tiles, per_block = tile_count(s.oh, height), max(1, rows // height)
    blocks = -(-tiles // per_block)
    with parallel(s.n * blocks, threads) as task:
        image, first = task // blocks, (task % blocks) * per_block
        end = first + per_block
        end = end if tiles % per_block == 0 else tirx.Min(end, tiles)
        emitter = of_image(image)
        for_flat((first, end), s.oh, height, lambda size, row, _: emitter.emit(row, size))
