"""The three kernels of direct convolution, and the stores that other operators share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.activations import Activation
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Group,
    PrefetchSlice,
    Segment,
    Tile,
    Tiling,
    Weights,
    for_groups,
    for_rows,
    group_count,
    microkernel,
    parallel,
    prefetch_slice,
    product,
    tile_count,
)
from tvm_flow.schedules.cpu.emit.post import scaled
from tvm_flow.schedules.cpu.emit.staging import Source, stage_rows
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    interleave,
    load_valid,
    store_valid,
)
from tvm_flow.schedules.operators.conv2d import Conv2dShape

PixelIndex = Callable[[Expr, Expr], Expr]
#: Where a vector goes: its first element of the output, and which output channel that is.
Place = tuple[Expr, Expr]


@dataclass(frozen=True)
class Part:
    """One group of a convolution: its weights, the first channel that it reads and the first one
    that it writes."""

    weights: Weights
    reads: Expr
    writes: Expr


@contextmanager
def parts(
    s: Conv2dShape, weights: Weights, shares: int, threads: int
) -> Iterator[tuple[Part, Expr]]:
    """A parallel loop over the ``shares`` of every group: the group, and which share of it."""
    with parallel(s.groups * shares, threads) as task:
        if s.groups == 1:
            yield Part(weights, s.ic0, 0), task
            return
        group, padded = task // shares, weights.panels.padded
        of_group = replace(weights, base=group * (s.k * padded), bias_base=group * padded)
        yield Part(of_group, group * s.gi + s.ic0, group * s.go), task % shares


def make_epilogue(
    s: Conv2dShape, args: Mapping[str, tirx.Buffer], act: Activation, res: str, pixel: PixelIndex,
    first: Expr = 0,
) -> Epilogue:  # fmt: skip
    """Activation, residual and (shuffled) store of one output vector, whose channels count from
    ``first`` on."""

    def epilogue(value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int) -> None:
        at, channel = pixel(i, j), channel + first
        if not s.mix:
            to = (at * s.co + channel, channel)
            finish_and_store(args, value, to, width, valid, act, res)
            return
        out = finish(args, value, (at * s.co + channel, channel), width, valid, act, res)
        even = load_valid(args["bypass"], at * s.bcp + s.bc0 + channel, width, valid)
        mixed = bind(interleave(even, out(), width), 2 * width)
        store_valid(args["y"], mixed, at * (2 * s.co) + channel * 2, 2 * width, 2 * valid)

    return epilogue


def finish(
    args: Mapping[str, tirx.Buffer], value: Value, to: Place, width: int, valid: int,
    act: Activation, res: str,
) -> Value:  # fmt: skip
    """Residual (``res`` before or after, read at the element that is written), activation, and
    scale and shift after it of ``value``."""
    at, channel = to
    if res != "none":
        other = load_valid(args["residual"], at, width, valid)
    if res == "pre":
        value = bind(value() + other, width)
    out = scaled(args, bind(act(value, width), width), channel, width)
    return bind(out() + other, width) if res == "post" else out


def finish_and_store(
    args: Mapping[str, tirx.Buffer], value: Value, to: Place, width: int, valid: int,
    act: Activation, res: str,
) -> None:  # fmt: skip
    """:func:`finish`, then the store into ``y``."""
    out = finish(args, value, to, width, valid, act, res)
    store_valid(args["y"], out, to[0], width, valid)


def emit_flat(
    s: Conv2dShape, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer], weights: Weights,
    act: Activation, res: str,
) -> None:  # fmt: skip
    """1x1, stride 1: one line of pixels; parallel over groups, blocks of tiles and of panels."""
    total = s.n * s.h * s.w
    tiles = tile_count(total, min(knobs["mt"], total))
    groups = group_count(weights.panels, knobs["nv"])
    chunks = min(knobs["nb"], groups)
    per_block = knobs["mb"]
    blocks = -(-tiles // per_block)
    with parts(s, weights, blocks * chunks, cpu.threads) as (part, task):
        block, span = task // chunks, _chunk(task % chunks, chunks, groups)
        product(
            total,
            Tiling(knobs["mt"], knobs["nv"], knobs["ku"], bool(knobs["order"])),
            part.weights,
            lambda first: [Segment(args["x"], first * s.icp + part.reads, 0, s.icp, s.gi)],
            lambda first: make_epilogue(s, args, act, res, lambda _i, j: first + j, part.writes),
            tiles=(block * per_block, tirx.Min(block * per_block + per_block, tiles)),
            slices=min(per_block, tiles),
            groups=span,
        )


def _chunk(chunk: Expr, chunks: int, groups: int) -> tuple[Expr, Expr] | None:
    """Panel groups of one of ``chunks`` equal parts; ``None`` for all."""
    if chunks == 1:
        return None
    length = -(-groups // chunks)
    return chunk * length, tirx.Min(chunk * length + length, groups)


def emit_rows(
    s: Conv2dShape, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer], weights: Weights,
    act: Activation, res: str,
) -> None:  # fmt: skip
    """General window: parallel over groups, images, blocks of output rows and of panels."""
    rows = knobs["rb"]
    blocks = -(-s.oh // rows)
    groups = group_count(weights.panels, knobs["nv"])
    chunks = min(knobs.get("nb", 1), groups)
    with parts(s, weights, s.n * blocks * chunks, cpu.threads) as (part, share):
        task, span = share // chunks, _chunk(share % chunks, chunks, groups)
        image, first = task // blocks, (task % blocks) * rows
        count = rows if s.oh % rows == 0 else tirx.Min(s.oh - first, rows)
        window = _window(s, rows, count, args["x"], part.reads, image, first, cpu.lanes)

        slices = max(1, rows // knobs["th"]) * tile_count(s.ow, min(knobs["mt"], s.ow))

        def tile(
            shape: Tile, y: Expr, x: Expr, group: Group, fetch: PrefetchSlice | None = None
        ) -> None:
            segment = window.at(y * window.row_pitch + x * window.col_pitch)
            base = (image * s.oh + first + y) * s.ow + x
            epilogue = make_epilogue(
                s, args, act, res, lambda i, j: base + i * s.ow + j, part.writes
            )
            microkernel(shape, [segment], part.weights, group, epilogue, knobs["ku"], fetch)

        def over_rows(body: Callable[[Tile, Expr, Expr, Expr], None]) -> None:
            for_rows(count, knobs["th"], s.ow, knobs["mt"], body)

        if knobs["order"]:
            for_groups(
                weights.panels,
                knobs["nv"],
                lambda g: over_rows(
                    lambda t, y, x, n: tile(t, y, x, g, prefetch_slice(weights, n, slices))
                ),
                span,
            )
        else:
            over_rows(
                lambda t, y, x, _: for_groups(
                    weights.panels, knobs["nv"], lambda g: tile(t, y, x, g), span
                )
            )


def _window(
    s: Conv2dShape,
    rows: int,
    count: Expr | int,
    x: tirx.Buffer,
    reads: Expr,
    image: Expr,
    first: Expr,
    lanes: int,
) -> Segment:
    """The A operand of output row ``first``, column 0, channels from ``reads`` on: direct, or
    staged with zero borders.

    ``row_pitch``/``col_pitch`` are per *output* row and column, strides included.
    """
    if not s.padded:
        if s.nchw:
            base = image * (s.icp * s.h * s.w) + reads * (s.h * s.w) + first * (s.sh * s.w)
            return _segment(s, x, base, row=s.w, column=1, run=1, outer=((s.gi, s.h * s.w),))
        base = (image * s.h + first * s.sh) * (s.w * s.icp) + reads
        return _segment(s, x, base, row=s.w * s.icp, column=s.icp, run=s.gi)
    between = rows_between(s, rows)
    need = (rows - 1) * s.sh + 1 + (s.kh - 1) * between
    source = Source(x, s.h, s.w, s.icp, reads, s.gi, s.pw, bool(s.nchw), s.right)
    width, top = source.width, first * s.sh - s.ph
    pad = T.alloc_buffer((need * width * s.gi,), x.dtype)
    if between == s.dh:
        stage_rows(source, pad, image, top, (count - 1) * s.sh + s.span_h, need, lanes)
    else:  # the rows between those of one tap and those of the next are read by none
        with T.serial(0, s.kh) as tap:
            used, at = (count - 1) * s.sh + 1, tap * between
            stage_rows(source, pad, image, top + tap * s.dh, used, need, lanes, at)
    outer = ((s.gi, need * width),) if s.nchw else ()
    unit = 1 if s.nchw else s.gi
    return _segment(
        s, pad, 0, row=width * unit, column=unit, run=unit, outer=outer, between=between
    )


def rows_between(s: Conv2dShape, rows: int) -> int:
    """How many rows of the scratch for ``rows`` output rows are between two taps: under a large
    dilation each tap has rows of its own, and those in between are left out."""
    return min(s.dh, (rows - 1) * s.sh + 1)


def _segment(
    s: Conv2dShape, buffer: tirx.Buffer, base: Expr, *, row: int, column: int, run: int,
    outer: tuple[tuple[int, int], ...] = (), between: int = 0,
) -> Segment:  # fmt: skip
    """All taps, with ``row`` and ``column`` elements from one row and column of the input or its
    scratch to the next and ``run`` contiguous ones per tap; those of a row are one run where they
    touch. ``between``: rows from one tap to the next, where that is not the dilation."""
    rows, pitch = (s.kh, (between or s.dh) * row), (s.sh * row, s.sw * column)
    if s.dw == 1 and column == run:
        return Segment(buffer, base, *pitch, s.kw * run, repeats=(*outer, rows))
    return Segment(buffer, base, *pitch, run, repeats=(*outer, rows, (s.kw, s.dw * column)))
