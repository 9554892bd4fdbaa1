"""CPUs, as far as schedules know them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tvm_flow.schedules.contract.algorithm import InvalidKnobs
from tvm_flow.schedules.contract.dtypes import FLOAT32, DType


@dataclass(frozen=True)
class Cpu:
    """What a schedule may know about the core it is generated for.

    ``lanes``: fp32 lanes of one vector register; ``registers``: number of vector registers;
    ``l1_bytes``/``l2_bytes``: per-core cache sizes; ``threads``: worker threads the kernel is
    split for (1 gives no parallel loop); ``fmas``: vector FMAs it issues per cycle; ``lookup``:
    whether it has :func:`tvm_flow.schedules.cpu.emit.vector.lookup`; ``l3_bytes``: the last cache,
    where there is one behind L2.
    """

    kind: ClassVar[str] = "cpu"

    lanes: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    threads: int = 1
    fmas: int = 1
    lookup: bool = False
    l3_bytes: int = 0

    @property
    def last_cache_bytes(self) -> int:
        """Bytes of the largest cache that the core can use."""
        return max(self.l2_bytes, self.l3_bytes)

    @property
    def heavy_tile(self) -> tuple[int, int]:
        """Panels and most pixels of a register tile under a heavy activation: small, so that the
        core computes it beside the next tile's products. Where a core issues as many FMAs as
        loads, one panel is too few: each FMA would need a load of its own. Two panels of six
        pixels are what sixteen registers hold (decision 0004)."""
        if self.by_lane or self.fmas < 2:
            return (1, 8)
        return (2, 8) if self.registers >= 32 else (2, 6)

    @property
    def by_lane(self) -> int:
        """Number of vector registers where a multiplication can take its factor from any lane of
        a register, as NEON's can (told by four lanes and 32 registers), else 0."""
        return self.registers if (self.lanes, self.registers) == (4, 32) else 0

    def tile_pixels(self, panels: int, spare: int) -> int:
        """Most pixels of a register tile beside ``panels`` panels per group, ``spare`` registers
        left. By lane, each pixel also holds a vector of its inputs, and LLVM loads ahead, for which
        seven registers stay free, or it spills (decision 0004)."""
        if self.by_lane:
            return (self.registers - panels - 7) // (panels + 1)
        return (self.registers - spare) // panels

    def check_tile(self, pixels: int, panels: int) -> None:
        """Raises :class:`InvalidKnobs` for a register tile of a product that does not fit beside
        its panels of weights."""
        if pixels * panels > self.registers - 1 - min(panels, 2):
            raise InvalidKnobs(f"{pixels}x{panels} accumulators do not fit {self.registers}")

    def check_window_tile(self, pixels: int) -> None:
        """The same for a tile of a sliding window: raises :class:`InvalidKnobs`."""
        if pixels > self.registers - 4:
            raise InvalidKnobs(f"{pixels} accumulators do not fit {self.registers}")

    def resident_pixels(self, reduction: int, dtype: DType = FLOAT32) -> int:
        """Most pixels of a register tile whose inputs leave half of L1 to the panels of weights,
        and at least seven, below which weights are loaded for too few products (decision 0004)."""
        return max(7, self.l1_bytes // (2 * dtype.bytes * reduction))
