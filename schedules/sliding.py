"""A window that slides over images: what convolutions and pooling have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from schedules.base import Workload


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
