"""What a compiled network does in a run: a flat list of kernel calls over planned memory."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np


class Place(enum.IntEnum):
    """Where a tensor lies; the numbers are those of ``plan.bin``."""

    ARENA, WEIGHTS, INPUT, OUTPUT = range(4)


@dataclass(frozen=True)
class PlannedTensor:
    """``offset``: bytes from the start of the arena or of the weights; of an input or output which
    one it is. Tensors may share memory: a reshape is the same memory under another shape."""

    place: Place
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class PlannedKernel:
    """A function of the library. ``argument_bytes``: what it may touch of each argument, of which
    it writes the last ``outputs``."""

    symbol: str
    argument_bytes: tuple[int, ...]
    outputs: int


@dataclass(frozen=True)
class Step:
    """A call of :attr:`Plan.kernels` number ``kernel`` with tensors by number; without a kernel a
    copy of the first into the second."""

    kernel: int | None
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """``inputs`` and ``outputs``: numbers of tensors. ``arena``: bytes all intermediate tensors
    take together; ``unshared``: what one buffer for each would take. ``weights``: bytes of the file
    of weights."""

    tensors: tuple[PlannedTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernels: tuple[PlannedKernel, ...]
    steps: tuple[Step, ...]
    arena: int
    unshared: int
    weights: int
