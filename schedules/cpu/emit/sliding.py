"""A window that slides over images: what convolutions and pooling have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Workload
from tvm_flow.schedules.cpu.emit.vector import Expr


@dataclass(frozen=True)
class Sliding:
    """n images of h x w under a window of kh x kw, in steps of sh x sw, padded by ph and pw."""

    n: int
    h: int
    w: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int

    @classmethod
    def of(cls, workload: Workload) -> Self:
        """The workload's parameters of these names."""
        return cls(**{name: workload[name] for name in cls.__dataclass_fields__})

    @property
    def oh(self) -> int:
        """Rows of the output."""
        return (self.h + 2 * self.ph - self.kh) // self.sh + 1

    @property
    def ow(self) -> int:
        """Columns of the output."""
        return (self.w + 2 * self.pw - self.kw) // self.sw + 1

    @contextmanager
    def where_row_exists(self, row: Expr, y: int, rows: int) -> Iterator[None]:
        """A condition around what reads input row ``y``, counted from the first that a tile of
        ``rows`` output rows from ``row`` on reads, if some tile of the image lacks it."""
        at, one = row * self.sh - self.ph + y, tirx.IntImm("bool", 1)
        above = at >= 0 if y < self.ph else one
        below = at < self.h if (self.oh - rows) * self.sh - self.ph + y >= self.h else one
        if above is one and below is one:
            yield
            return
        with T.If(tirx.And(above, below)), T.Then():
            yield
