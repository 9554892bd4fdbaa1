"""Every generator compiles for a Cortex-A72, to fused multiply-adds and without calls to libm."""

from __future__ import annotations

import re

import pytest
import tvm

from tests.schedules import lab
from tests.schedules.cases import CASES
from tvm_flow import targets
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.operators.activations import ACTIVATIONS

#: (the first cases of resizing take the nearest pixel)
WITHOUT_PRODUCTS = {"channel_shuffle", "global_pool", "pool2d", "resize", "transpose"}
#: what LLVM itself emits for loops that copy or clear, and what TVM's runtime offers kernels
ALLOWED = re.compile(r"^(memcpy|memset|memmove|__TVM\w+|__tvm_\w+|TVM\w+|kernel_\w+|\.L\w+|\$\w+)$")


def assembly(workloads: list[Workload]) -> str:
    board = targets.load("rk3399")
    cpu = Cpu(board.lanes, board.vector_registers, board.l1_bytes, board.l2_bytes, board.threads)
    jobs = [lab.Job.make(workload, cpu) for workload in workloads]
    functions = {f"kernel_{i}": job.build(f"kernel_{i}") for i, job in enumerate(jobs)}
    target = lowering.target_of(board.tvm_target())
    return str(lowering.compile_module(tvm.IRModule(functions), target).mod.inspect_source("asm"))


def called(text: str) -> set[str]:
    """Symbols that are called or jumped to by name."""
    return set(re.findall(r"^\s+bl?\s+([A-Za-z_.$][\w.$]*)", text, re.MULTILINE))


@pytest.mark.parametrize("generator", sorted(CASES))
def test_kernels_for_a72(generator: str) -> None:
    text = assembly(CASES[generator][:2])
    foreign = {name for name in called(text) if not ALLOWED.match(name)}
    assert not foreign
    vector_fma = re.findall(r"\bfmla\s+v\d+\.4s", text)
    assert bool(vector_fma) == (generator.split(maxsplit=1)[0] not in WITHOUT_PRODUCTS)


def test_activations_are_inlined_for_a72() -> None:
    by_act = {work.problem.text("act"): work for work in CASES["depthwise Direct"]}
    assert set(by_act) == set(ACTIVATIONS)
    foreign = {name for name in called(assembly(list(by_act.values()))) if not ALLOWED.match(name)}
    assert not foreign
