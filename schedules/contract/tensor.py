"""Arrays, and what a kernel's arguments look like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tvm_flow.schedules.contract.dtypes import FLOAT32, DType

Array = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """One argument of a kernel, row-major. ``role`` is input, weight or output."""

    name: str
    shape: tuple[int, ...]
    role: str
    dtype: DType = FLOAT32

    @property
    def bytes(self) -> int:
        return self.dtype.bytes * math.prod(self.shape)
