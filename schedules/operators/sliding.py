"""A window that slides over images: what convolutions and pooling have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tvm_flow.schedules.contract.problem import NHWC, Problem


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
    def of(cls, problem: Problem) -> Self:
        """The problem's parameters of these names."""
        return cls(**{name: problem[name] for name in cls.__dataclass_fields__})

    @property
    def oh(self) -> int:
        """Rows of the output."""
        return (self.h + 2 * self.ph - self.kh) // self.sh + 1

    @property
    def ow(self) -> int:
        """Columns of the output."""
        return (self.w + 2 * self.pw - self.kw) // self.sw + 1

    @property
    def stride(self) -> tuple[int, int]:
        return self.sh, self.sw

    @property
    def pad(self) -> tuple[int, int]:
        return self.ph, self.pw


@dataclass(frozen=True)
class WindowShape(Sliding):
    """Images with ``cp`` channels, of which ``c`` from ``c0`` are swept."""

    c: int
    cp: int
    c0: int


def shape_of(layout: str, n: int, h: int, w: int, c: int) -> tuple[int, int, int, int]:
    """A 4-D shape in ``nhwc`` or ``nchw``."""
    return (n, h, w, c) if layout == NHWC else (n, c, h, w)
