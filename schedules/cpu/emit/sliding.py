"""The rows of a window that slides over images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.cpu.emit.vector import Expr
from tvm_flow.schedules.operators.sliding import Sliding


@contextmanager
def where_row_exists(s: Sliding, row: Expr, y: int, rows: int) -> Iterator[None]:
    """A condition around what reads input row ``y``, counted from the first that a tile of
    ``rows`` output rows from ``row`` on reads, if some tile of the image lacks it."""
    at, one = row * s.sh - s.ph + y, tirx.IntImm("bool", 1)
    above = at >= 0 if y < s.ph else one
    below = at < s.h if (s.oh - rows) * s.sh - s.ph + y >= s.h else one
    if above is one and below is one:
        yield
        return
    with T.If(tirx.And(above, below)), T.Then():
        yield


@contextmanager
def where_inside(s: Sliding, row: Expr) -> Iterator[None]:
    """A condition around what reads input row ``row``, if windows reach beyond the image."""
    if not (s.ph or s.below):
        yield
        return
    with T.If(tirx.And(row >= 0, row < s.h)), T.Then():
        yield
