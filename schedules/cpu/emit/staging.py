"""Copy a block of input rows into a scratch with zero borders, vectorised.

A microkernel over the scratch needs no boundary test. Only the channels that are read are copied:
for PConv that is the first quarter. A scratch of a wider type than the input widens what it gets.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    constant,
    convert,
    dtype_of,
    for_vectors,
    load,
    store,
)


@dataclass(frozen=True)
class Source:
    """A 4-D input tensor and the part of it that is staged.

    ``h, w``: spatial size; ``channels`` of the tensor; ``first``, ``count``: the channels read;
    ``pw``: zero columns on the left and, unless ``right`` says otherwise, on the right;
    ``nchw``: channel-major layout; ``zero``: what stands for zero in a quantised tensor.
    """

    buffer: tirx.Buffer
    h: int
    w: int
    channels: int
    first: Expr
    count: int
    pw: int
    nchw: bool = False
    right: int = -1  # zero columns on the right, where they are not ``pw``
    zero: int = 0
    every: int = 1  # of a phase: rows and columns from one to the next

    @property
    def width(self) -> int:
        """Columns of the scratch."""
        return self.pw + -(-self.w // self.every) + self.after

    @property
    def after(self) -> int:
        """Zero columns on the right."""
        return self.pw if self.right < 0 else self.right


def _fill(buffer: tirx.Buffer, base: Expr, count: int, lanes: int, zero: int) -> None:
    def fill(at: Expr, width: int) -> None:
        store(buffer, constant(zero, width, dtype_of(buffer)), base + at, width)

    for_vectors(count, lanes, fill)


def copy_run(
    dst: tirx.Buffer, to: Expr, src: tirx.Buffer, at: Expr, count: int, lanes: int
) -> None:
    """Copy ``count`` consecutive elements, as elements of ``dst``."""

    def copy(k: Expr, width: int) -> None:
        store(dst, convert(load(src, at + k, width), dtype_of(dst)), to + k, width)

    for_vectors(count, lanes, copy)


def stage_rows(
    source: Source, pad: tirx.Buffer, image: Expr, top: Expr, rows: Expr | int, plane: int,
    lanes: int, first: Expr = 0,
) -> None:  # fmt: skip
    """Fill ``pad``, from its row ``first`` on, with input rows ``top .. top+rows`` of ``image``,
    zeros outside the input.

    NHWC scratch: [row][width][count]. NCHW scratch: [count][plane rows][width].
    """
    if source.nchw:
        with T.serial(0, source.count) as c, T.serial(0, rows) as r:
            at = ((image * source.channels + source.first + c) * source.h + top + r) * source.w
            _row(source, pad, (c * plane + (r + first)) * source.width, at, top + r, lanes)
    else:
        with T.serial(0, rows) as r:
            at = ((image * source.h + top + r) * source.w) * source.channels + source.first
            _row(source, pad, (r + first) * (source.width * source.count), at, top + r, lanes)


def stage_phase(
    source: Source, pad: tirx.Buffer, image: Expr, top: Expr, rows: Expr | int, plane: int,
    lanes: int,
) -> None:  # fmt: skip
    """:func:`stage_rows` of one phase of an NHWC tensor: every so many rows and columns, from one
    of the first on. ``image`` counts the phases of all images, row by row."""
    d, unit = source.every, source.count
    whole, rest = divmod(source.w, d)
    phase, number = image % (d * d), image // (d * d)
    with T.serial(0, rows) as r:
        y, to = T.bind((top + r) * d + phase // d), T.bind(r * (source.width * unit))
        pixel = (number * source.h + y) * source.w + phase % d

        def copy(x: Expr) -> None:
            at = (pixel + x * d) * source.channels + source.first
            copy_run(pad, to + (source.pw + x) * unit, source.buffer, at, unit, lanes)

        with T.If(tirx.And(y >= 0, y < source.h)):
            with T.Then():
                _fill(pad, to, source.pw * unit, lanes, source.zero)
                with T.serial(0, whole) as x:
                    copy(x)
                end = to + (source.pw + whole) * unit
                _fill(pad, end, (source.width - source.pw - whole) * unit, lanes, source.zero)
                if rest:
                    with T.If(phase % d < rest), T.Then():
                        copy(whole)
            with T.Else():
                _fill(pad, to, source.width * unit, lanes, source.zero)


def _row(source: Source, pad: tirx.Buffer, to: Expr, at: Expr, y: Expr, lanes: int) -> None:
    """One scratch row: zero border, the row's pixels, zero border; all zero outside the image."""
    unit = 1 if source.nchw else source.count
    inside = tirx.all(y >= 0, y < source.h)
    with T.If(inside):
        with T.Then():
            _fill(pad, to, source.pw * unit, lanes, source.zero)
            body = to + source.pw * unit
            if source.nchw or source.count == source.channels:
                copy_run(pad, body, source.buffer, at, source.w * unit, lanes)
            else:
                with T.serial(0, source.w) as x:
                    copy_run(
                        pad, body + x * unit, source.buffer, at + x * source.channels, unit, lanes
                    )
            _fill(pad, body + source.w * unit, source.after * unit, lanes, source.zero)
        with T.Else():
            _fill(pad, to, source.width * unit, lanes, source.zero)
