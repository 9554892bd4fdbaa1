"""Register tiles of convolutions that do not sum over channels: vectors run along the channels.

What :func:`tvm_flow.schedules.cpu.emit.microkernel.microkernel` is to the others, over the same
segments: of a segment's ``k`` contiguous elements, every ``channels`` are a tap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.cpu.emit.microkernel import Epilogue, for_groups, for_rows, microkernel
from tvm_flow.schedules.cpu.emit.reduction import Group, Segment, Tile, Weights
from tvm_flow.schedules.cpu.emit.vector import Expr, bind, for_vectors, load, registers, store


@dataclass(frozen=True)
class Taps:
    """Weights [taps][channels] from element ``base`` on, and a bias per channel."""

    weight: tirx.Buffer
    bias: tirx.Buffer
    channels: int
    base: Expr | int = 0


def channelwise(
    tile: Tile, segments: Sequence[Segment], taps: Taps, lanes: int, epilogue: Epilogue
) -> None:
    """Emit a tile of pixels for all channels: bias, sums over the taps, then ``epilogue``."""
    for_vectors(
        taps.channels, lanes, lambda c, width: _vector(tile, segments, taps, epilogue, c, width)
    )


def _vector(
    tile: Tile, segments: Sequence[Segment], taps: Taps, epilogue: Epilogue, channel: Expr,
    width: int,
) -> None:  # fmt: skip
    acc = registers(tile.pixels * width)
    for pixel in range(tile.pixels):
        store(acc, load(taps.bias, channel, width), pixel * width, width)
    for segment in segments:
        _repeat(tile, segment, taps, acc, channel, width, (segment.base, 0), 0)
    for i in range(tile.rows):
        for j in range(tile.cols):
            read = partial(load, acc, (i * tile.cols + j) * width, width)
            epilogue(read, i, j, channel, width, width)


def _repeat(
    tile: Tile, segment: Segment, taps: Taps, acc: tirx.Buffer, channel: Expr, width: int,
    at: tuple[Expr, Expr], depth: int,
) -> None:  # fmt: skip
    """The taps of a segment's repeats from ``depth`` on; ``at``: address of the first one's input,
    and its number."""
    run, (base, number) = segment.k // taps.channels, at
    if depth < len(segment.repeats):
        count, step = segment.repeats[depth]
        inner = run
        for n, _ in segment.repeats[depth + 1 :]:
            inner *= n
        with T.serial(0, count) as r:
            to = (base + r * step, number + r * inner)
            _repeat(tile, segment, taps, acc, channel, width, to, depth + 1)
        return
    for tap in range(run):
        row = taps.base + (number + tap) * taps.channels + channel
        weight = bind(load(taps.weight, row, width), width)
        for i in range(tile.rows):
            for j in range(tile.cols):
                place = base + i * segment.row_pitch + j * segment.col_pitch
                x = load(segment.buffer, place + tap * taps.channels + channel, width)
                slot = (i * tile.cols + j) * width
                store(acc, load(acc, slot, width) + x * weight(), slot, width)


def block(
    weights: Weights | Taps, rows: Expr | int, columns: int, knobs: Knobs, lanes: int,
    place: Callable[[Expr, Expr], tuple[Sequence[Segment], Epilogue]],
) -> None:  # fmt: skip
    """Emit a block of ``rows`` x ``columns`` output pixels tile by tile, by panels of output
    channels or channelwise. ``place`` gives what a tile at a row and column reads, and what becomes
    of its results; knobs ``mt``, ``th``, ``nv``, ``ku`` and ``order`` as of a convolution."""

    def tile(shape: Tile, y: Expr, x: Expr, group: Group | None = None) -> None:
        segments, epilogue = place(y, x)
        if isinstance(weights, Taps):
            channelwise(shape, segments, weights, lanes, epilogue)
        elif group is not None:
            microkernel(shape, segments, weights, group, epilogue, knobs["ku"])

    def over_pixels(body: Callable[[Tile, Expr, Expr], None]) -> None:
        for_rows(rows, knobs["th"], columns, knobs["mt"], lambda t, y, x, _: body(t, y, x))

    if isinstance(weights, Taps):
        over_pixels(tile)
        return
    panels, nv = weights.panels, knobs["nv"]
    if knobs["order"]:
        for_groups(panels, nv, lambda g: over_pixels(lambda t, y, x: tile(t, y, x, g)))
    else:
        over_pixels(lambda t, y, x: for_groups(panels, nv, lambda g: tile(t, y, x, g)))
