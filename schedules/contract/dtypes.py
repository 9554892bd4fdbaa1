"""Element types: of tensors, of packed weights, of values in registers.

What depends on an element's type (its size, what it is summed in, how its name is spelt for a
vector) is asked of :class:`DType`, so that an algorithm for another type shares all code that does
not compute. ``FLOAT32`` is the default that keys of problems leave out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np


class DType(StrEnum):
    """One element type. A string as well, in NumPy's and TVM's spelling: both take it as it is.

    ``DType(text)`` raises ``ValueError`` for what no kernel here can hold.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"

    @classmethod
    def of(cls, array: np.ndarray) -> DType:
        """That of an array's elements. Raises ``ValueError``."""
        return cls(str(array.dtype))

    @property
    def numpy(self) -> np.dtype[Any]:
        """The same for NumPy."""
        return np.dtype(self.value)

    @property
    def bytes(self) -> int:
        """Size of one element."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self.numpy.kind == "f"

    @property
    def accumulator(self) -> DType:
        """What sums of products of such elements are kept in: 32 bits at least."""
        if self.bytes >= INT32.bytes:
            return self
        return FLOAT32 if self.is_float else INT32

    @property
    def wide(self) -> np.dtype[Any]:
        """What a reference computes in: float64, or int64, which is exact for sums of products."""
        return np.dtype(np.float64 if self.is_float else np.int64)

    def vector(self, width: int) -> str:
        """TVM's name for ``width`` elements; of one, for the scalar."""
        return self.value if width == 1 else f"{self.value}x{width}"


FLOAT32, FLOAT16 = DType.FLOAT32, DType.FLOAT16
INT8, UINT8, INT16, INT32 = DType.INT8, DType.UINT8, DType.INT16, DType.INT32
