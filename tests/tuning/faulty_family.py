"""A real operator family whose knobs can make a real kernel crash, hang, or compute rubbish.

``y = x * scale[0] + shift`` over ``n`` elements. Knob ``step`` is the vector width, ``waste`` does
the work several times over (so that there is something to optimise), ``fault`` picks what goes
wrong. A workload's ``faults`` puts that fault into the space, ``always`` into every choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import (
    Array,
    Cpu,
    Family,
    InvalidKnobs,
    Knobs,
    Space,
    TensorSpec,
    Workload,
)
from tvm_flow.schedules.registry import register

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
    return Workload.make("test_affine", n=n, shift=shift, faults=faults or always, always=always)


class Affine(Family):
    op = "test_affine"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        n = workload["n"]
        return [
            TensorSpec("x", (n // 2, 2), "input"),
            TensorSpec("scale", (cpu.lanes,), "weight"),
            TensorSpec("y", (n // 2, 2), "output"),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        return {"scale": (1,)}

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [weights["scale"].repeat(cpu.lanes)]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        return [inputs[0] * weights["scale"][0] + workload["shift"]]

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        return {"step": 1, "waste": 8, "fault": workload["always"]}

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        faults = workload["faults"]
        return {
            "step": [1, 2, 3, 4, 8, 16],
            "waste": [1, 2, 4, 8, 16],
            "fault": sorted({workload["always"], faults}),
        }

    def macs(self, workload: Workload) -> int:
        return workload["n"]

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, step, fault = workload["n"], knobs["step"], knobs["fault"]
        if n % step:
            raise InvalidKnobs(f"{n} is not a multiple of {step}")
        if fault == BROKEN:
            raise RuntimeError("this generator is broken")
        with IRBuilder() as builder, T.prim_func():
            T.func_name(name)
            x = T.arg("x", T.buffer((n,), "float32"))
            scale = T.arg("scale", T.buffer((cpu.lanes,), "float32"))
            y = T.arg("y", T.buffer((n,), "float32"))
            end = n // step - (1 if fault == UNWRITTEN else 0)
            with (
                T.serial(0, knobs["waste"]) as _,
                T.serial(0, end) as i,
                T.vectorized(0, step) as j,
            ):
                at = i * step + j
                wrong = 0.001 if fault == WRONG else 0.0
                T.buffer_store(y, x[at] * scale[0] + (workload["shift"] + wrong), [at])
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


register(Affine())
