"""The register-tiled matrix product every dense kernel is made of.

One microkernel computes ``rows x cols`` output pixels by a few vector panels of output channels.
Accumulators stay in vector registers over the whole reduction; the A operand is read pixel by
pixel, so that any affine pixel layout (padded rows, strides, channel slices) costs nothing;
the B operand is the packed weight stream of :mod:`tvm_flow.schedules.cpu.emit.packing`.

The reduction is a list of *segments*: runs of K contiguous A elements per pixel. A 1x1
convolution is one segment, a 3x3 convolution over a padded buffer is three (the three columns of
a tap row are contiguous), and a convolution over "PConv output, then untouched channels" is two
segments in different buffers, which is why the untouched channels are never copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.dtypes import FLOAT32, DType
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.packing import Panels, balanced
from tvm_flow.schedules.cpu.emit.reduction import (
    Group,
    PrefetchSlice,
    Reduction,
    Segment,
    Tile,
    Weights,
)
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    constant,
    convert,
    dtype_of,
    load,
    loop,
    registers,
    store,
)


class Epilogue(Protocol):
    """What becomes of one output vector: the ``value`` at row ``i`` and column ``j`` of a tile, of
    ``width`` channels from ``channel`` on, of which the first ``valid`` exist."""

    def __call__(
        self, value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int, /
    ) -> None: ...


def microkernel(
    tile: Tile,
    segments: Sequence[Segment],
    weights: Weights,
    group: Group,
    epilogue: Epilogue,
    unroll: int,
    fetch: PrefetchSlice | None = None,
) -> None:
    """Emit one register tile: bias, reduction over ``segments``, then ``epilogue`` per vector."""
    lanes = weights.panels.lanes
    widths = group.widths(lanes)
    # one buffer per panel: LLVM keeps an accumulator array in registers only if all accesses to
    # it have one vector width
    acc = [registers(tile.pixels * w, weights.sums) for w in widths]
    with T.unroll(0, tile.rows) as i, T.unroll(0, tile.cols) as j:
        for panel, width in enumerate(widths):
            at = (group.first + panel) * lanes
            store(acc[panel], _start(weights, at, width), (i * tile.cols + j) * width, width)
    for segment in segments:
        Reduction(tile, segment, weights, group, acc, unroll, fetch).emit()
    with T.unroll(0, tile.rows) as i, T.unroll(0, tile.cols) as j:
        for panel, width in enumerate(widths):
            where = (i * tile.cols + j) * width
            valid = width if panel < group.full else weights.panels.n % lanes
            channel = (group.first + panel) * lanes
            read = partial(load, acc[panel], where, width)
            epilogue(read, i, j, channel, width, valid)


def _start(weights: Weights, at: Expr, width: int) -> Expr:
    """What sums begin with."""
    if weights.bias is None:
        return constant(0, width, weights.sums)
    return convert(load(weights.bias, at + weights.bias_base, width), weights.sums)


def for_groups(
    panels: Panels,
    per_group: int,
    body: Callable[[Group], None],
    span: tuple[Expr, Expr] | None = None,
) -> None:
    """Run ``body`` over the panel groups of ``span`` (default: all), sizes balanced.

    Groups of equal size share one piece of code (a serial loop); the last group, if it ends in
    the narrow tail panel, has its own.
    """
    start, stop = span if span is not None else (0, group_count(panels, per_group))
    cut = balanced(panels.count, min(per_group, panels.count))
    number, first = 0, 0
    for index, (size, count) in enumerate(cut):
        has_tail = bool(panels.tail) and index == len(cut) - 1
        plain = count - 1 if has_tail else count
        if plain:
            low, high = clip(start, stop, number, number + plain)
            with loop(low, high) as g:
                body(Group(first + (g - number) * size, size, 0))
        number, first = number + plain, first + plain * size
        if has_tail:
            low, high = clip(start, stop, number, number + 1)
            with loop(low, high):
                body(Group(first, size - 1, panels.tail))


def group_count(panels: Panels, per_group: int) -> int:
    """Number of groups :func:`for_groups` makes."""
    return -(-panels.count // min(per_group, panels.count))


def clip(start: Expr, stop: Expr, low: int, high: int) -> tuple[Expr, Expr]:
    """The part of ``start .. stop`` inside ``low .. high``; constant where both are."""
    if isinstance(start, int) and isinstance(stop, int):
        low = max(start, low)
        return low, max(min(stop, high), low)
    return tirx.Max(start, tirx.IntImm("int32", low)), tirx.Min(stop, tirx.IntImm("int32", high))


def for_flat(
    span: tuple[Expr, Expr], total: int, largest: int, body: Callable[[int, Expr, Expr], None]
) -> None:
    """Cover tiles ``span`` (first, end) of a line of ``total`` pixels, cut into balanced tiles.

    ``body(size, first pixel, number)`` is emitted once per distinct tile size. Tile numbers below
    the count of the larger size are larger tiles; they count from the beginning of the line.
    """
    cut = balanced(total, largest)
    first_tile, first_pixel = 0, 0
    for size, count in cut:
        low, high = clip(*span, first_tile, first_tile + count)
        with loop(low, high) as t:
            body(size, first_pixel + (t - first_tile) * size, t)
        first_tile += count
        first_pixel += size * count


def tile_count(total: int, largest: int) -> int:
    """Number of balanced tiles :func:`for_flat` cuts ``total`` pixels into."""
    return -(-total // largest)


#: Shares of a parallel loop per thread: the thread pool of a bundle makes as many.
SHARES_PER_THREAD = 16
#: Bytes after which addresses share a set of L1: 64 sets of 64-byte lines, as x86 cores have.
SET_BYTES = 4096
#: See :func:`prefetch_slice`.
MOST_SLICES, FEWEST_BYTES = 32, 1 << 16


@dataclass(frozen=True)
class Tiling:
    """Register tile of a product over a line of pixels.

    ``mt`` pixels by ``nv`` panels; the reduction is unrolled ``ku`` times; ``panels_outer`` puts
    the loop over panel groups outside the loop over pixel tiles (the weights of a group then stay
    in L1, the pixels stream), else inside.
    """

    mt: int
    nv: int
    ku: int
    panels_outer: bool


def product(
    total: int,
    tiling: Tiling,
    weights: Weights,
    segments: Callable[[Expr], Sequence[Segment]],
    epilogue: Callable[[Expr], Epilogue],
    *,
    tiles: tuple[Expr, Expr] | None = None,
    slices: int = 0,
    groups: tuple[Expr, Expr] | None = None,
) -> None:
    """A whole matrix product over a line of ``total`` pixels, or the given spans of it.

    ``segments`` and ``epilogue`` are functions of a tile's first pixel; the epilogue's column
    index counts from there. ``tiles`` and ``groups`` bound pixel tiles and panel groups; ``slices``
    is the greatest length of ``tiles``.
    """
    largest = min(tiling.mt, total)
    count = tile_count(total, largest)
    span = tiles if tiles is not None else (0, count)

    def tile(size: int, first: Expr, group: Group, fetch: PrefetchSlice | None = None) -> None:
        emit = epilogue(first)
        microkernel(Tile(1, size), segments(first), weights, group, emit, tiling.ku, fetch)

    def line(group: Group) -> None:
        for_flat(
            span, total, largest,
            lambda n, p, t: tile(
                n, p, group, prefetch_slice(weights, t - span[0], slices or count)
            ),
        )  # fmt: skip

    if tiling.panels_outer:
        for_groups(weights.panels, tiling.nv, line, groups)
        return
    for_flat(
        span,
        total,
        largest,
        lambda n, p, _: for_groups(
            weights.panels, tiling.nv, lambda group: tile(n, p, group), groups
        ),
    )


def prefetch_slice(weights: Weights, number: Expr, count: int) -> PrefetchSlice | None:
    """What tile ``number`` of ``count`` that share a group of panels fetches, where that pays:
    not for what stays in a near cache anyway, and not with so many tiles that the first one hardly
    matters. NEON cores do without, since nobody has timed it there (decision 0005)."""
    bytes_ = dtype_of(weights.buffer).bytes * weights.k * weights.panels.padded
    few = count <= MOST_SLICES and bytes_ >= FEWEST_BYTES
    return (
        PrefetchSlice(number, count) if few and not weights.by_lane and not weights.pitch else None
    )


def apart(pitch: int, lanes: int, dtype: DType = FLOAT32) -> int:
    """A pitch of scratch pixels that does not put a whole register tile into one set of L1: at a
    multiple of 4 KiB only as many pixels fit as L1 has ways (decision 0004)."""
    return pitch + lanes if dtype.bytes * pitch % SET_BYTES == 0 else pitch


def for_rows(
    count: Expr | int,
    height: int,
    width: int,
    largest: int,
    body: Callable[[Tile, Expr, Expr, Expr], None],
) -> None:
    """Cover ``count`` rows of ``width`` pixels with tiles of ``height`` rows, then single rows.

    ``body(tile, first row, first column, number)``; ``number`` counts the tiles of ``height`` rows
    from zero, and those of single rows as well.
    """
    largest = min(largest, width)
    tiles = tile_count(width, largest)

    def band(rows: int, y: Expr, index: Expr) -> None:
        for_flat(
            (0, tiles), width, largest,
            lambda n, x, t: body(Tile(rows, n), y, x, index * tiles + t),
        )  # fmt: skip

    if isinstance(count, int):
        whole, rest = count // height, count % height
    else:
        whole, rest = tirx.FloorDiv(count, height), tirx.FloorMod(count, height)
    with T.serial(0, whole) as t:
        band(height, t * height, t)
    if height > 1 and not (isinstance(rest, int) and rest == 0):
        with T.serial(0, rest) as t:
            band(1, whole * height + t, t)


@contextmanager
def parallel(count: int, threads: int) -> Iterator[Expr]:
    """A parallel loop of ``count`` rounds, or a serial one where there is nothing to share.

    A thread pool cuts a loop into shares of equal length without knowing the loop's: of fourteen
    rounds, all would fall into the first half of 32 shares, that is into one thread's. So what runs
    in parallel is a loop over exactly as many shares as pools make, and each holds its part of the
    rounds: every thread goes through neighbouring rounds, front to back.
    """
    shares = SHARES_PER_THREAD * threads
    if threads < 2 or count < 2:
        with T.serial(0, count) as task:
            yield task
    elif count % shares == 0:
        with T.parallel(0, count) as task:
            yield task
    else:
        with (
            T.parallel(0, shares) as share,
            loop(share * count // shares, (share + 1) * count // shares) as task,
        ):
            yield task


@contextmanager
def shared(count: int, threads: int) -> Iterator[tuple[Expr, Expr]]:
    """Rounds ``first .. end`` of ``count``: one at a time in parallel, or all where there is one
    thread."""
    if threads < 2:
        yield 0, count
    else:
        with parallel(count, threads) as task:
            yield task, task + 1


def inner_threads(cpu: Cpu, knobs: Knobs) -> int:
    """Threads that share every product of a tile; one where they share out the tiles instead."""
    return cpu.threads if knobs.get("split") else 1
