"""What the algorithms for CPUs have in common."""

from __future__ import annotations

from collections.abc import Mapping

from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.device import Cpu


class CpuAlgorithm(Algorithm[Cpu]):
    """One way to compute an operator on a CPU."""

    device_kind = Cpu.kind


class WeightlessAlgorithm(CpuAlgorithm):
    """The same for an operator without weights."""

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        return []

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return []


def packed(problem: Problem, **sizes: int) -> list[TensorSpec]:
    """Packed weights by name and number of elements, of the problem's element type."""
    return [TensorSpec(name, (size,), "weight", problem.dtype) for name, size in sizes.items()]
