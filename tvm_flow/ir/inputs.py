"""What a network takes."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.schedules.contract.dtypes import FLOAT32

#: Element types of inputs, as NumPy names them.
INPUT_TYPES = (
    FLOAT32.value, "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64", "bool",
)  # fmt: skip


@dataclass(frozen=True)
class InputSpec:
    """One input: ``shape`` (empty for a scalar); ``dtype``, one of :data:`INPUT_TYPES`, or empty
    for the network's own, and fp32 where it has none; ``name``, or empty for the next in order."""

    shape: tuple[int, ...]
    dtype: str = ""
    name: str = ""

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) or "scalar"
        named = f"{self.name}={text}" if self.name else text
        return f"{named}:{self.dtype}" if self.dtype not in ("", FLOAT32) else named
