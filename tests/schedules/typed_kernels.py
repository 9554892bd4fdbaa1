"""A convolution for tensors of any element type, and any other kernel in a few lines.

They are simple rather than fast, and made of the vocabulary of ``schedules/cpu/emit`` only: what
the types of the real families will be made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tvm import IRModule, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tests.schedules.lab import IsaLevel
from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.dtypes import INT8, INT16, UINT8, DType
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Segment, Tiling, Weights, product
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.staging import Source, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr, bind, convert, dtype_of, store_valid
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.activations import activation
from tvm_flow.tuning.worker.trial_data import TrialData

Args = Mapping[str, tirx.Buffer]


def solve(isa: IsaLevel, data: TrialData, func: tirx.PrimFunc, tolerance: float = 0) -> None:
    """Compile ``func``, run it on ``data`` and compare. Raises ``WrongResult``."""
    name = str(func.attrs["global_symbol"])
    kernel = lowering.compile_module(IRModule({name: func}), isa.target(1))[name]
    buffers = data.buffers()
    kernel(*(b.tensor(s.shape) for b, s in zip(buffers, data.specs, strict=True)))
    data.check(buffers, tolerance)


def kernel(specs: Sequence[TensorSpec], body: Callable[[Args], None]) -> tirx.PrimFunc:
    """A kernel of the given arguments that does what ``body`` emits."""
    algorithm: Any = SimpleNamespace(
        op="typed", name="typed", dtypes=frozenset(DType), arguments=lambda *_: list(specs)
    )
    problem, cpu = Problem.make("typed"), Cpu(4, 16, 1, 1)
    with IRBuilder() as builder, prim_func(algorithm, problem, cpu, "typed") as args:
        body(args)
    return builder.get()


def vector_kernel(
    given: Mapping[str, Array], expected: Array, body: Callable[[Args], None]
) -> tuple[TrialData, tirx.PrimFunc]:
    """A kernel from one-dimensional inputs to the output ``y``, and its data."""
    specs = [TensorSpec(k, v.shape, "input", DType.of(v)) for k, v in given.items()]
    specs.append(TensorSpec("y", expected.shape, "output", DType.of(expected)))
    return TrialData(tuple(specs), tuple(given.values()), (expected,)), kernel(specs, body)


class TypedConv(Operator):
    """3x3 convolution of one image, padded with one row or column of ``zero``.

    Parameters: h, w, ci, co; zero; act; staged (1: the input is widened to int16 before). Integers
    give 32-bit sums, floats their own type.
    """

    op = "typed_conv"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        shape = (1, problem["h"], problem["w"], problem["ci"])
        return [TensorSpec("x", shape, "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        shape, dtype = (1, problem["h"], problem["w"], problem["co"]), problem.dtype
        return [TensorSpec("y", shape, "output", dtype if dtype.is_float else dtype.accumulator)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        return {"weight": (problem["co"], problem["ci"], 3, 3), "bias": (problem["co"],)}

    def weight_dtype(self, problem: Problem, name: str) -> DType:
        if name == "bias":
            return problem.dtype.accumulator
        return INT8 if problem.dtype is UINT8 else problem.dtype

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        zero = problem.get("zero", 0)
        x = inputs[0] if inputs[0].dtype.kind == "f" else inputs[0].astype("int32") - zero
        y = reference.conv2d_nhwc(x, weights["weight"], weights["bias"], (1, 1), (1, 1))
        if zero:  # the kernel multiplies what is in memory; what that adds is a matter of the bias
            y += zero * weights["weight"].astype("int32").sum(axis=(1, 2, 3), dtype="int32")
        return [activation(problem.text("act"), y)]

    def macs(self, problem: Problem) -> int:
        return problem["h"] * problem["w"] * problem["ci"] * problem["co"] * 9


TYPED_CONV = TypedConv()


class TypedDirect(CpuAlgorithm):
    """Staged rows of the image times all weights of a window."""

    operator, name = TYPED_CONV, "direct"
    dtypes = frozenset(DType)

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        padded = Panels(problem["co"], device.lanes).padded
        sizes = {"weight": 9 * problem["ci"] * padded, "bias": padded}
        return [
            TensorSpec(name, (size,), "weight", self.operator.weight_dtype(problem, name))
            for name, size in sizes.items()
        ]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        matrix = weights["weight"].transpose(2, 3, 1, 0).reshape(-1, problem["co"])
        return [pack_matrix(matrix, device.lanes), pack_vector(weights["bias"], device.lanes)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        return {"mt": 3}

    def space(self, problem: Problem, device: Cpu) -> Space:
        return {"mt": [3]}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        h, w, ci, co = (problem[key] for key in ("h", "w", "ci", "co"))
        act, lanes = activations.emitter(problem.text("act"), device), device.lanes
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            source = Source(args["x"], h, w, ci, 0, ci, 1, zero=problem.get("zero", 0))
            pitch = source.width * ci
            staged = INT16 if problem.get("staged", 0) else problem.dtype
            pad = T.alloc_buffer(((h + 2) * pitch,), staged)
            zero = tirx.IntImm("int32", 0)
            stage_rows(source, pad, zero, zero - 1, h + 2, h + 2, lanes)
            weights = Weights(
                args["weight"], args["bias"], Panels(co, lanes), 9 * ci, by_lane=device.by_lane
            )
            with T.serial(0, h) as row:
                product(
                    w, Tiling(knobs["mt"], 2, 4, True), weights,
                    lambda p: [Segment(pad, row * pitch + p * ci, 0, ci, 3 * ci,
                                       repeats=((3, pitch),))],
                    lambda p: self._epilogue(args["y"], act, (row * w + p) * co, co),
                )  # fmt: skip
        return builder.get()

    @staticmethod
    def _epilogue(y: tirx.Buffer, act: activations.Activation, start: Expr, co: int) -> Any:
        def epilogue(value: Any, _i: Expr, j: Expr, channel: Expr, width: int, valid: int) -> None:
            out = bind(convert(act(value, width), dtype_of(y)), width)
            store_valid(y, out, start + j * co + channel, width, valid)

        return epilogue
