"""One kernel of a network as a bundle of its own: random arguments, and what must come out.

The arguments are the weights of a plan of one step without inputs, so that the program of every
bundle runs it as it runs a network.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor
from tvm import tirx

from tvm_flow.backends import Backend
from tvm_flow.bundle.plan_file import NAME as PLAN
from tvm_flow.bundle.plan_file import FileStamp, PlanHeader, plan_bytes
from tvm_flow.codegen.constants import Array, offsets_of, write_weights
from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.lowering import PIPELINE, pass_context
from tvm_flow.toolchain.checksum import checksum
from tvm_flow.verify.problems import compute

#: File of the arguments, as of a bundle's weights.
ARGUMENTS = "weights.bin"


@dataclass(frozen=True)
class SingleKernel:
    """``kernel`` called with ``arguments``, in its order without the outputs; ``expected`` is what
    it is to write."""

    kernel: PlannedKernel
    arguments: Sequence[Array]
    expected: Sequence[Tensor]

    def write(self, folder: Path, header: PlanHeader) -> None:
        """Plan and arguments; the library of ``header`` is to lie beside them."""
        path = folder / ARGUMENTS
        write_weights(path, self.arguments)
        content = path.read_bytes()
        made = replace(header, weights=FileStamp(len(content), checksum(content)))
        outputs = [
            TensorInfo(f"output{n}", tuple(y.shape), _dtype(y)) for n, y in enumerate(self.expected)
        ]
        (folder / PLAN).write_bytes(
            plan_bytes(made, self._plan(), [], outputs, layout="NHWC", checksum=checksum)
        )

    def _plan(self) -> Plan:
        places, total = offsets_of(list(self.arguments))
        given = [
            PlannedTensor(Place.WEIGHTS, array.shape, str(array.dtype), place)
            for array, place in zip(self.arguments, places, strict=True)
        ]
        made = [
            PlannedTensor(Place.OUTPUT, tuple(y.shape), _dtype(y), n)
            for n, y in enumerate(self.expected)
        ]
        first = len(given)
        return Plan(
            tensors=(*given, *made),
            inputs=(),
            outputs=tuple(range(first, first + len(made))),
            kernels=(self.kernel,),
            steps=(Step(0, tuple(range(first + len(made)))),),
            arena=0,
            unshared=0,
            weights=total,
        )


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def generated(kernel: PlannedKernel, workload: Workload, backend: Backend[Any],
              device: Any) -> SingleKernel:  # fmt: skip
    """A kernel of ours on random numbers, against the operator in double precision."""
    algorithm, problem = backend.algorithm(workload), workload.problem
    rng = _random(problem.key)
    weights = {
        name: _normal(rng, shape) / np.float32(max(1, math.prod(shape[1:])) ** 0.5)
        for name, shape in algorithm.operator.weight_shapes(problem).items()
    }
    inputs = [_normal(rng, spec.shape) for spec in algorithm.operator.inputs(problem)]
    exact = compute(
        problem,
        [torch.from_numpy(array).double() for array in inputs],
        {name: torch.from_numpy(array).double() for name, array in weights.items()},
    )
    packed = algorithm.pack(problem, device, weights)
    (output,) = algorithm.operator.outputs(problem)
    expected = exact.float().reshape(output.shape)
    return SingleKernel(kernel, [*inputs, *packed], [expected])


def generic(kernel: PlannedKernel, function: tirx.PrimFunc, built: CompiledLibrary) -> SingleKernel:
    """A kernel that TVM made of an operator, against the same made for this machine: the graph's
    verification has compared that with the model. Weights are the network's, whole numbers zero:
    they may be indices."""
    rng, given = _random(kernel.symbol), []
    count = len(kernel.argument_bytes) - kernel.outputs
    first = next(step for step in built.plan.steps if _calls(step, kernel, built.plan))
    for number, (shape, dtype) in enumerate(_types(function)[:count]):
        tensor = built.plan.tensors[first.arguments[number]]
        if tensor.place is Place.WEIGHTS:
            given.append(_weight(built, tensor).reshape(shape))
        elif np.dtype(dtype).kind == "f":
            given.append(_normal(rng, shape).astype(dtype))
        else:
            given.append(np.zeros(shape, dtype))
    made = [np.zeros(shape, dtype) for shape, dtype in _types(function)[count:]]
    values = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in (*given, *made)]
    with pass_context():
        named = function.with_attr("global_symbol", "kernel")
        module = tvm.compile(tvm.IRModule({"kernel": named}), "llvm", tir_pipeline=PIPELINE)
    module["kernel"](*values)
    return SingleKernel(kernel, given, [torch.from_numpy(v.numpy()) for v in values[count:]])


def _calls(step: Step, kernel: PlannedKernel, plan: Plan) -> bool:
    return step.kernel is not None and plan.kernels[step.kernel].symbol == kernel.symbol


def _types(function: tirx.PrimFunc) -> list[tuple[tuple[int, ...], str]]:
    return [
        (tuple(int(extent) for extent in parameter.ty.shape), str(parameter.ty.dtype))
        for parameter in function.params
    ]


def _weight(built: CompiledLibrary, tensor: PlannedTensor) -> Array:
    places, _ = offsets_of(list(built.weights))
    return np.ascontiguousarray(built.weights[places.index(tensor.offset)])


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _normal(rng: np.random.Generator, shape: Sequence[int]) -> Array:
    return rng.standard_normal(tuple(shape), np.float32)
