"""The contract every algorithm fulfils.

A *problem* is one operator at one shape, layout and element type. An *algorithm* computes the
problems of one operator on one kind of device: it packs the weights, generates the kernel, and
knows the default knobs (good with zero trials) and the space of knobs to tune over. A *knob* is one
integer decision of a schedule (tile height, vectors per tile, fusion depth); ``schedules/KNOBS.md``
tells what each means. The generator turns (problem, device, knobs) into one TIR function; weights
are packed the same way for every choice of knobs, so that a record never changes what the compiler
stores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.dtypes import FLOAT32, DType
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec

if TYPE_CHECKING:  # boards are listed, and workers started, without TVM
    from tvm import tirx

Knobs = dict[str, int]
Space = dict[str, list[int]]

D = TypeVar("D", bound=Device)


class InvalidKnobs(ValueError):
    """A combination of knobs that no kernel exists for; a tuner skips it."""


class Algorithm(ABC, Generic[D]):
    """One way to compute an operator on one kind of device.

    ``name`` tells it from the operator's other algorithms for the same layout. ``layouts`` and
    ``dtypes`` are those of the problems it has kernels for.
    """

    operator: Operator
    name: str
    device_kind: str
    layouts: tuple[str, ...] = (NHWC,)
    dtypes: frozenset[DType] = frozenset({FLOAT32})

    @property
    def op(self) -> str:
        return self.operator.op

    def applies(self, problem: Problem, device: D) -> bool:
        """Whether it computes ``problem`` on ``device``."""
        named = problem.op == self.op and problem.layout in self.layouts
        return named and problem.dtype in self.dtypes

    @abstractmethod
    def weights(self, problem: Problem, device: D) -> list[TensorSpec]:
        """The packed weights in order."""

    @abstractmethod
    def pack(self, problem: Problem, device: D, weights: Mapping[str, Array]) -> list[Array]:
        """Plain weights by name -> the packed arrays of :meth:`weights`, in order."""

    def arguments(self, problem: Problem, device: D) -> list[TensorSpec]:
        """The kernel's arguments in order: inputs, packed weights, outputs."""
        operator = self.operator
        packed = self.weights(problem, device)
        return [*operator.inputs(problem), *packed, *operator.outputs(problem)]

    @abstractmethod
    def default(self, problem: Problem, device: D) -> Knobs:
        """Knobs that are good with zero trials."""

    @abstractmethod
    def space(self, problem: Problem, device: D) -> Space:
        """Every knob with its choices. The default is always a member."""

    @abstractmethod
    def build(self, problem: Problem, device: D, knobs: Knobs, name: str) -> tirx.PrimFunc:
        """The kernel. Raises :class:`InvalidKnobs` for a combination it cannot generate."""

    def bytes_moved(self, problem: Problem, device: D) -> int:
        """Bytes of a perfect execution: every argument crosses memory once."""
        return sum(spec.bytes for spec in self.arguments(problem, device))
