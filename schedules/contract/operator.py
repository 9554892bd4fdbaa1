"""What an operator computes, on whatever device and by whatever algorithm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec


class Operator(ABC):
    """One operator; ``op`` is its name in the keys of problems."""

    op: str

    @abstractmethod
    def inputs(self, problem: Problem) -> list[TensorSpec]:
        """Its inputs in order, in the problem's layout where they are 4-D."""

    @abstractmethod
    def outputs(self, problem: Problem) -> list[TensorSpec]:
        """Its outputs in order, in the problem's layout where they are 4-D."""

    @abstractmethod
    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the plain weights, as PyTorch has them; none by default."""

    def weight_dtype(self, problem: Problem, name: str) -> DType:
        """Element type of the plain weight ``name``, where it is not that of the inputs."""
        return problem.dtype

    @abstractmethod
    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        """Plain computation of the outputs from the inputs and plain weights."""

    @abstractmethod
    def macs(self, problem: Problem) -> int:
        """Multiply-accumulates of the direct algorithm (FLOPs are twice this)."""
