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

from tests.schedules.lab import Machine
from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.contract.dtypes import INT8, INT16, UINT8, DType
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Segment, Tiling, Weights, product
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.staging import Source, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr, bind, convert, dtype_of, store_valid
from tvm_flow.schedules.cpu.reference import conv2d_nhwc
from tvm_flow.tuning.worker.problem import Problem

Args = Mapping[str, tirx.Buffer]


def solve(machine: Machine, problem: Problem, func: tirx.PrimFunc, tolerance: float = 0) -> None:
    """Compile ``func``, run it on the problem's data and compare. Raises ``WrongResult``."""
    name = str(func.attrs["global_symbol"])
    kernel = lowering.compile_module(IRModule({name: func}), machine.target(1))[name]
    buffers = problem.buffers()
    kernel(*(b.tensor(s.shape) for b, s in zip(buffers, problem.specs, strict=True)))
    problem.check(buffers, tolerance)


def kernel(specs: Sequence[TensorSpec], body: Callable[[Args], None]) -> tirx.PrimFunc:
    """A kernel of the given arguments that does what ``body`` emits."""
    family: Any = SimpleNamespace(
        op="typed", dtypes=frozenset(DType), arguments=lambda _workload, _cpu: list(specs)
    )
    workload, cpu = Workload.make("typed"), Cpu(4, 16, 1, 1)
    with IRBuilder() as builder, prim_func(family, workload, cpu, "typed") as args:
        body(args)
    return builder.get()


def vector_kernel(
    given: Mapping[str, Array], expected: Array, body: Callable[[Args], None]
) -> tuple[Problem, tirx.PrimFunc]:
    """A kernel from one-dimensional inputs to the output ``y``, and its problem."""
    specs = [TensorSpec(k, v.shape, "input", DType.of(v)) for k, v in given.items()]
    specs.append(TensorSpec("y", expected.shape, "output", DType.of(expected)))
    return Problem(tuple(specs), tuple(given.values()), (expected,)), kernel(specs, body)


class TypedConv(Family):
    """3x3 convolution of one image, padded with one row or column of ``zero``.

    Parameters: h, w, ci, co; dtype; zero; act; staged (1: the input is widened to int16 before).
    Integers give 32-bit sums, floats their own type.
    """

    op = "typed_conv"
    dtypes = frozenset(DType)

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        h, w, ci, co = (workload[name] for name in ("h", "w", "ci", "co"))
        padded, dtype = Panels(co, cpu.lanes).padded, workload.dtype
        weight, bias = (self.weight_dtype(workload, name) for name in ("weight", "bias"))
        return [
            TensorSpec("x", (1, h, w, ci), "input", dtype),
            TensorSpec("weight", (9 * ci * padded,), "weight", weight),
            TensorSpec("bias", (padded,), "weight", bias),
            TensorSpec("y", (1, h, w, co), "output", dtype if dtype.is_float else bias),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        return {"weight": (workload["co"], workload["ci"], 3, 3), "bias": (workload["co"],)}

    def weight_dtype(self, workload: Workload, name: str) -> DType:
        if name == "bias":
            return workload.dtype.accumulator
        return INT8 if workload.dtype is UINT8 else workload.dtype

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        matrix = weights["weight"].transpose(2, 3, 1, 0).reshape(-1, workload["co"])
        return [pack_matrix(matrix, cpu.lanes), pack_vector(weights["bias"], cpu.lanes)]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        zero = workload.get("zero", 0)
        x = inputs[0] if inputs[0].dtype.kind == "f" else inputs[0].astype("int32") - zero
        y = conv2d_nhwc(x, weights["weight"], weights["bias"], (1, 1), (1, 1))
        if zero:  # the kernel multiplies what is in memory; what that adds is a matter of the bias
            y += zero * weights["weight"].astype("int32").sum(axis=(1, 2, 3), dtype="int32")
        return [activations.reference(workload.text("act"), y)]

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        return {"mt": 3}

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        return {"mt": [3]}

    def macs(self, workload: Workload) -> int:
        return workload["h"] * workload["w"] * workload["ci"] * workload["co"] * 9

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        h, w, ci, co = (workload[key] for key in ("h", "w", "ci", "co"))
        act = activations.emitter(workload.text("act"), cpu)
        with IRBuilder() as builder, prim_func(self, workload, cpu, name) as args:
            source = Source(args["x"], h, w, ci, 0, ci, 1, zero=workload.get("zero", 0))
            pitch = source.width * ci
            staged = INT16 if workload.get("staged", 0) else workload.dtype
            pad = T.alloc_buffer(((h + 2) * pitch,), staged)
            zero = tirx.IntImm("int32", 0)
            stage_rows(source, pad, zero, zero - 1, h + 2, h + 2, cpu.lanes)
            weights = Weights(
                args["weight"], args["bias"], Panels(co, cpu.lanes), 9 * ci, by_lane=cpu.by_lane
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
