"""A real algorithm whose knobs can make a real kernel crash, hang, or compute rubbish.

``y = x * scale[0] + shift`` over ``n`` elements. Knob ``step`` is the vector width, ``waste`` does
the work several times over (so that there is something to optimise), ``fault`` picks what goes
wrong. A workload's ``faults`` puts that fault into the space, ``always`` into every choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import InvalidKnobs, Knobs, Space
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu

CRASH, HANG, WRONG, UNWRITTEN, OUTSIDE, INPUT, BROKEN = range(1, 8)
FAULTS = {
    CRASH: "crashed",
    HANG: "timeout",
    WRONG: "wrong_result",
    UNWRITTEN: "wrong_result",
    OUTSIDE: "wrong_result",
    INPUT: "wrong_result",
    BROKEN: "build_error",
}


def workload(n: int = 4096, *, shift: int = 2, faults: int = 0, always: int = 0) -> Workload:
    """30 choices of knobs (5 of them without a kernel), twice as many with ``faults``."""
    given = {"n": n, "shift": shift, "faults": faults or always, "always": always}
    return Workload(Problem.of("test_affine", given), "direct")


class Affine(Operator):
    op = "test_affine"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("x", (problem["n"] // 2, 2), "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("y", (problem["n"] // 2, 2), "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        return {"scale": (1,)}

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        return [inputs[0] * weights["scale"][0] + problem["shift"]]

    def macs(self, problem: Problem) -> int:
        return problem["n"]


class Faulty(CpuAlgorithm):
    operator, name = Affine(), "direct"

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        return [TensorSpec("scale", (device.lanes,), "weight", problem.dtype)]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [weights["scale"].repeat(device.lanes)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        return {"step": 1, "waste": 8, "fault": problem["always"]}

    def space(self, problem: Problem, device: Cpu) -> Space:
        faults = problem["faults"]
        return {
            "step": [1, 2, 3, 4, 8, 16],
            "waste": [1, 2, 4, 8, 16],
            "fault": sorted({problem["always"], faults}),
        }

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, step, fault = problem["n"], knobs["step"], knobs["fault"]
        if n % step:
            raise InvalidKnobs(f"{n} is not a multiple of {step}")
        if fault == BROKEN:
            raise RuntimeError("this generator is broken")
        with IRBuilder() as builder, T.prim_func():
            T.func_name(name)
            x = T.arg("x", T.buffer((n,), "float32"))
            scale = T.arg("scale", T.buffer((device.lanes,), "float32"))
            y = T.arg("y", T.buffer((n,), "float32"))
            end = n // step - (1 if fault == UNWRITTEN else 0)
            with (
                T.serial(0, knobs["waste"]) as _,
                T.serial(0, end) as i,
                T.vectorized(0, step) as j,
            ):
                at = i * step + j
                wrong = 0.001 if fault == WRONG else 0.0
                T.buffer_store(y, x[at] * scale[0] + (problem["shift"] + wrong), [at])
            _emit_fault(fault, n, x, y)
        return builder.get()


def _emit_fault(fault: int, n: int, x: tirx.Buffer, y: tirx.Buffer) -> None:
    if fault == CRASH:
        with T.serial(0, 1 << 18) as i:  # far outside of any mapped memory
            T.buffer_store(y, 1.0, [(1 << 30) + i * 4096 - n])
    elif fault == HANG:
        with T.serial(0, 1 << 30), T.serial(0, 1 << 30) as i:  # thousands of years
            T.buffer_store(x, x[i % n] * 0.5 + x[(i + 1) % n], [i % n])
    elif fault == OUTSIDE:
        T.buffer_store(y, 1.0, [n + 1])
    elif fault == INPUT:
        T.buffer_store(x, 7.0, [n // 2])


registry.register(Faulty())
