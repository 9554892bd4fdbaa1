"""In the run worker: what a candidate is given, and whether what it does is right.

Every buffer lies between guard zones, outputs start as what is certainly wrong and inputs are
compared afterwards: a kernel that leaves an element out, writes beside its output or over an input
is found out even if the values it did write are right.
"""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tvm
from numpy.typing import NDArray

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.dtypes import FLOAT32, DType
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.devices import AnyDevice

_ALIGNMENT = 64  # bytes; what TVM demands of every tensor
_GUARD = 4096  # bytes on either side of a buffer
_GUARD_BYTE = 0xFF  # floats of any size read them as NaN
#: Random integers of more than 8 bits stay within this, so that their sums fit 32 bits.
_MOST = 1 << 10


class WrongResult(Exception):
    """The kernel's outputs differ from the reference, or it wrote where it must not."""


@dataclass(frozen=True)
class Guarded:
    """An array with guard zones; ``tensor(shape)`` gives it to TVM without a copy."""

    memory: NDArray[np.uint8]
    array: Array

    @classmethod
    def like(cls, values: Array) -> Guarded:
        memory = np.full(values.nbytes + 2 * _GUARD + _ALIGNMENT, _GUARD_BYTE, np.uint8)
        start = _GUARD + -(memory.ctypes.data + _GUARD) % _ALIGNMENT
        array = memory[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
        array[...] = values
        return cls(memory, array)

    def tensor(self, shape: Sequence[int]) -> Any:
        return tvm.runtime.from_dlpack(self.array.reshape(shape))

    @property
    def lead(self) -> int:
        """Bytes of guard zone before the array."""
        return _GUARD

    @property
    def zone(self) -> NDArray[np.uint8]:
        """The array's bytes with a guard zone on either side."""
        start = self.array.ctypes.data - self.memory.ctypes.data - _GUARD
        return self.memory[start : start + self.array.nbytes + 2 * _GUARD]

    @property
    def guards_intact(self) -> bool:
        start = self.array.ctypes.data - self.memory.ctypes.data
        before, after = self.memory[:start], self.memory[start + self.array.nbytes :]
        return bool((before == _GUARD_BYTE).all() and (after == _GUARD_BYTE).all())


@dataclass(frozen=True, eq=False)  # arrays have no single truth of being equal
class TrialData:
    """Fixed random data of one workload: arguments in the kernel's order, expected outputs."""

    specs: tuple[TensorSpec, ...]
    given: tuple[Array, ...]
    expected: tuple[Array, ...]

    def buffers(self) -> list[Guarded]:
        """Fresh arguments: inputs and weights filled, outputs not written yet."""
        return [Guarded.like(array) for array in (*self.given, *self.unwritten())]

    def unwritten(self) -> list[Array]:
        """Fresh outputs, every element wrong: NaN, or of integers all bits of the right one
        flipped."""
        return [
            np.full_like(array, np.nan) if DType.of(array).is_float else ~array
            for array in self.expected
        ]

    @property
    def weights(self) -> list[int]:
        """Places of the weights among the arguments."""
        return [at for at, spec in enumerate(self.specs) if spec.role == "weight"]

    def check(self, buffers: Sequence[Guarded], tolerance: float) -> None:
        """Raises :class:`WrongResult`. ``tolerance`` is relative to each output's largest value,
        and at least the rounding of its type; integers must be equal."""
        for spec, buffer in zip(self.specs, buffers, strict=True):
            if not buffer.guards_intact:
                raise WrongResult(f"the kernel writes outside of {spec.name}")
        self.check_values([buffer.array for buffer in buffers], tolerance)

    def check_values(self, arrays: Sequence[Array | None], tolerance: float) -> None:
        """The same for arguments without guard zones; what is ``None`` is not looked at."""
        inputs = len(self.given)
        for spec, before, after in zip(self.specs, self.given, arrays, strict=False):
            if after is not None and not np.array_equal(before, after.reshape(before.shape)):
                raise WrongResult(f"the kernel writes to its {spec.role} {spec.name}")
        outputs = zip(self.specs[inputs:], self.expected, arrays[inputs:], strict=True)
        for spec, want, got in outputs:
            assert got is not None
            _compare(spec.name, got.reshape(want.shape), want, tolerance)


def _compare(name: str, got: Array, want: Array, tolerance: float) -> None:
    if not DType.of(want).is_float:
        wrong = int((got != want).sum())
        if wrong:
            raise WrongResult(f"{wrong} of {got.size} elements of {name} are wrong")
        return
    bad = int(np.size(got) - np.isfinite(got).sum())
    if bad:
        raise WrongResult(f"{bad} of {got.size} elements of {name} are not written or not finite")
    rounding = np.finfo(want.dtype)
    tolerance = max(tolerance, float(rounding.eps))
    scale = max(float(np.abs(want).max()), float(rounding.tiny))
    error = float(np.abs(np.subtract(got, want, dtype=DType.of(want).accumulator)).max()) / scale
    if error > tolerance:
        raise WrongResult(f"{name} is off by {error:.2e} of its scale, allowed are {tolerance:.0e}")


@lru_cache(maxsize=16)
def trial_data(
    key: str, device: AnyDevice, *, algorithm_module: str, seed: int, cache: str
) -> TrialData:
    """The data of one workload; the reference outputs are kept in the folder ``cache``."""
    importlib.import_module(algorithm_module)
    workload = Workload.parse(key)
    # algorithms of one problem have the same data and share the outputs
    name = hashlib.sha256(f"{workload.problem.key} {seed}".encode()).hexdigest()[:24]
    algorithm = registry.algorithm(workload, device.kind)
    return pose(algorithm, workload.problem, device, seed=seed, file=Path(cache) / f"{name}.npz")


def pose(
    algorithm: Algorithm[Any], problem: Problem, device: Device, *, seed: int, file: Path
) -> TrialData:
    """Random inputs and weights of the types that the operator says, and what comes out of them:
    as ``file`` has it, or else computed and saved there."""
    operator = algorithm.operator
    specs = tuple(algorithm.arguments(problem, device))
    rng = np.random.default_rng(seed)
    inputs = [_random(rng, spec.shape, spec.dtype, 1.0) for spec in specs if spec.role == "input"]
    weights = {
        name: _random(rng, shape, operator.weight_dtype(problem, name), _fan_in(shape) ** -0.5)
        for name, shape in sorted(operator.weight_shapes(problem).items())
    }
    packed = _as_said(specs, "weight", algorithm.pack(problem, device, weights))
    if file.exists():  # a worker before this one crashed, or had another algorithm
        return TrialData(specs, (*inputs, *packed), _saved(file))
    outputs = _as_said(specs, "output", operator.reference(problem, inputs, weights))
    draft = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(draft, **{f"{n:03}": output for n, output in enumerate(outputs)})  # type: ignore[arg-type]
    draft.replace(file)
    return TrialData(specs, (*inputs, *packed), tuple(outputs))


def _saved(file: Path) -> tuple[Array, ...]:
    with np.load(file) as saved:
        return tuple(saved[name] for name in sorted(saved.files))


def _as_said(specs: Sequence[TensorSpec], role: str, arrays: Sequence[Array]) -> list[Array]:
    """Arrays of one role as the kernel takes them. Raises ``TypeError`` where that loses numbers:
    the operator or the algorithm contradicts itself."""
    said = []
    for spec, array in zip((s for s in specs if s.role == role), arrays, strict=True):
        casting: Literal["same_kind", "safe"] = "same_kind" if spec.dtype.is_float else "safe"
        if not np.can_cast(array.dtype, spec.dtype, casting):
            raise TypeError(f"{spec.name} is {array.dtype}, but the kernel has {spec.dtype}")
        said.append(np.ascontiguousarray(array, spec.dtype))
    return said


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType, scale: float) -> Array:
    """Normal numbers times ``scale``; integers of any size, but never the lowest of a signed type,
    which weights do not have either: it has no opposite."""
    if dtype.is_float:
        normal: Array = scale * rng.standard_normal(shape, FLOAT32.numpy)
        return normal.astype(dtype, copy=False)
    info = np.iinfo(dtype)
    high = min(info.max, _MOST)
    return rng.integers(max(info.min, -high), high, shape, dtype.numpy, endpoint=True)


def _fan_in(shape: tuple[int, ...]) -> int:
    """Values summed per output, so that outputs are of order one whatever the shape."""
    return max(1, int(np.prod(shape[1:]))) if len(shape) > 1 else 4
