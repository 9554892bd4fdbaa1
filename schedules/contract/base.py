"""The contract every operator family fulfils.

A *workload* is one operator at one shape: what a tuner tunes and a record is about. A *family*
knows how to compute it: a plain reference, the kernel generator, the default knobs (good with
zero trials) and the space of knobs to tune over. A *knob* is one integer decision of a schedule
(tile height, vectors per tile, fusion depth). The generator turns (workload, CPU, knobs) into one
TIR function; weights are packed the same way for every choice of knobs, so that a record never
changes what the compiler stores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import tirx

from tvm_flow.schedules.contract.dtypes import FLOAT32, DType

Array = NDArray[Any]
Knobs = dict[str, int]
Space = dict[str, list[int]]


class InvalidKnobs(ValueError):
    """A combination of knobs that no kernel exists for; a tuner skips it."""


@dataclass(frozen=True)
class Cpu:
    """What a schedule may know about the core it is generated for.

    ``lanes``: fp32 lanes of one vector register; ``registers``: number of vector registers;
    ``l1_bytes``/``l2_bytes``: per-core cache sizes; ``threads``: worker threads the kernel is
    split for (1 gives no parallel loop); ``fmas``: vector FMAs it issues per cycle; ``lookup``:
    whether it has :func:`tvm_flow.schedules.cpu.emit.vector.lookup`.
    """

    lanes: int
    registers: int
    l1_bytes: int
    l2_bytes: int
    threads: int = 1
    fmas: int = 1
    lookup: bool = False

    @property
    def heavy_tile(self) -> tuple[int, int]:
        """Panels and most pixels of a register tile under a heavy activation: small, so that the
        core computes it beside the next tile's products. Where a core issues as many FMAs as
        loads, one panel is too few: each FMA would need a load of its own (14 x 14, 256 channels,
        GELU: 461 us with 8 x 1, 432 with 8 x 2; Zen 5). Two panels of six pixels are what sixteen
        registers hold (28 x 28, 80 channels, GELU: 505 us with 8 x 1, 391 with 6 x 2; AVX2)."""
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
        left. By lane, each pixel also holds a vector of its inputs, and LLVM loads ahead: with
        fewer than seven registers for that, it spills on a Cortex-A53."""
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
        and at least seven. Measured: with 512 inputs and more a tile of 14 pixels is 10 % slower
        than one of 7 (FasterNet-S, Zen 4); below that they are equal."""
        return max(7, self.l1_bytes // (2 * dtype.bytes * reduction))


@dataclass(frozen=True)
class Workload:
    """One operator at one shape; equal workloads share a schedule and a tuning record.

    ``params`` maps names to integers or short strings (``act="relu"``), sorted by name. ``dtype``,
    the element type of the input, is left out for fp32.
    """

    op: str
    params: tuple[tuple[str, int | str], ...]

    @classmethod
    def make(cls, op: str, **params: int | str) -> Workload:
        kept = {k: v for k, v in params.items() if (k, v) != ("dtype", FLOAT32)}
        return cls(op, tuple(sorted(kept.items())))

    @classmethod
    def parse(cls, key: str) -> Workload:
        """Inverse of :attr:`key`. Raises ``ValueError`` on anything else."""
        op, paren, rest = key.partition("(")
        if not paren or not rest.endswith(")") or not op.isidentifier():
            raise ValueError(f"not a workload key: {key!r}")
        params: dict[str, int | str] = {}
        for item in filter(None, rest[:-1].split(",")):
            name, eq, value = item.partition("=")
            if not eq or not name.isidentifier():
                raise ValueError(f"not a workload key: {key!r}")
            params[name] = int(value) if value.lstrip("-").isdigit() else value
        return cls.make(op, **params)

    @property
    def key(self) -> str:
        """Canonical text, for example ``conv2d(act=relu,ci=40,co=80,...)``; used in records."""
        return f"{self.op}({','.join(f'{k}={v}' for k, v in self.params)})"

    def __getitem__(self, name: str) -> int:
        value = dict(self.params)[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} of {self.key} is not an integer")
        return value

    def get(self, name: str, default: int) -> int:
        """An optional integer parameter; workloads leave out what has its default."""
        value = dict(self.params).get(name, default)
        return value if isinstance(value, int) else default

    @property
    def dtype(self) -> DType:
        """Element type of the operator's input. Raises ``ValueError`` for an unknown one."""
        return DType(str(dict(self.params).get("dtype", FLOAT32)))

    def text(self, name: str) -> str:
        return str(dict(self.params)[name])

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class TensorSpec:
    """One argument of a kernel, row-major. ``role`` is input, weight or output."""

    name: str
    shape: tuple[int, ...]
    role: str
    dtype: DType = FLOAT32

    @property
    def bytes(self) -> int:
        return self.dtype.bytes * int(np.prod(self.shape))


class Family(ABC):
    """One operator family for one kind of target."""

    op: str
    #: input types it generates kernels for
    dtypes: frozenset[DType] = frozenset({FLOAT32})

    @abstractmethod
    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        """Kernel arguments in order: inputs, packed weights, outputs (all NHWC where 4-D)."""

    @abstractmethod
    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        """Plain weights by name -> the packed arrays of :meth:`arguments`, in order."""

    @abstractmethod
    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the plain (unpacked) weights :meth:`pack` takes."""

    def weight_dtype(self, workload: Workload, name: str) -> DType:
        """Element type of the plain weight ``name``, where it is not that of the input."""
        return workload.dtype

    @abstractmethod
    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        """Plain computation of the outputs from NHWC inputs and unpacked weights."""

    @abstractmethod
    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        """Knobs that are good with zero trials."""

    @abstractmethod
    def space(self, workload: Workload, cpu: Cpu) -> Space:
        """Every knob with its choices. The default is always a member."""

    @abstractmethod
    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        """The kernel. Raises :class:`InvalidKnobs` for a combination it cannot generate."""

    @abstractmethod
    def macs(self, workload: Workload) -> int:
        """Multiply-accumulates of the direct algorithm (FLOPs are twice this)."""

    def bytes_moved(self, workload: Workload, cpu: Cpu) -> int:
        """Bytes of a perfect execution: every argument crosses memory once."""
        return sum(spec.bytes for spec in self.arguments(workload, cpu))
