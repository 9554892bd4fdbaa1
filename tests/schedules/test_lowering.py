"""The tuner's pass pipeline and a network's make the same machine code of a kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tvm
from tvm.target import Target

from tests.schedules import lab
from tests.schedules.cases import CASES
from tvm_flow import targets
from tvm_flow.backends.cpu import cpu_of
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.cpu.device import Cpu

PI = targets.load("raspberry-pi-4")
MACHINES: dict[str, tuple[Cpu, Target]] = {
    "avx512": (lab.AVX512.cpu, lab.AVX512.target(3)),
    "avx512, two threads": (replace(lab.AVX512.cpu, threads=2), lab.AVX512.target(3)),
    "avx2": (lab.AVX2.cpu, lab.AVX2.target(3)),
    "a72, four threads": (cpu_of(PI, 4), lowering.target_of(PI.tvm_target())),
}


def code(job: lab.Job, target: Target, pipeline: str, folder: Path) -> bytes:
    module = tvm.IRModule({"kernel": job.build("kernel")})
    with lowering.pass_context():
        built = tvm.compile(module, target=target, tir_pipeline=pipeline)
    path = folder / f"{pipeline}.o"
    built.mod.write_to_file(str(path), "o")
    return path.read_bytes()


#: One serial and one parallel, one x86 and one Arm; the others differ from them in widths only.
QUICK = ("avx512", "a72, four threads")


@pytest.mark.parametrize(
    "machine",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MACHINES],
)
@pytest.mark.parametrize("generator", CASES)
def test_both_pipelines_make_the_same_code(generator: str, machine: str, tmp_path: Path) -> None:
    cpu, target = MACHINES[machine]
    for workload in CASES[generator][::8]:
        job = lab.Job.make(workload, cpu)
        pipelines = lowering.PIPELINE, lowering.KERNEL_PIPELINE
        network, kernel = (code(job, target, name, tmp_path) for name in pipelines)
        assert network == kernel, job.workload
