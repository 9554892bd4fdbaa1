"""Panels of weights are fetched while the ones before them are in use, where that pays."""

from __future__ import annotations

import re

import pytest
import tvm

from tests.schedules import lab, torch_reference
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.operators import conv2d

CASES = {
    "1x1": conv2d.problem(n=1, h=7, w=7, ci=232, co=232, act="relu"),
    "2x2": conv2d.problem(n=1, h=8, w=8, ci=58, co=122, kh=2, kw=2, sh=2, sw=2),
    "3x3": conv2d.problem(n=1, h=7, w=7, ci=58, co=58, kh=3, kw=3, ph=1, pw=1, act="relu"),
    "block": Problem.make(
        "pconv_block", n=2, h=7, w=7, c=116, cc=29, k=3, hidden=232, act="gelu", res="pre"
    ),
}


def prefetches(problem: Problem, isa: lab.IsaLevel) -> int:
    job = lab.Job.make(Workload(problem, "direct"), isa.cpu)
    module = tvm.IRModule({"kernel": job.build("kernel")})
    text = str(lowering.compile_module(module, isa.target(3)).mod.inspect_source("asm"))
    return len(re.findall(r"^\s+prefetch", text, re.MULTILINE))


ISA_LEVELS = pytest.mark.parametrize("isa", [lab.AVX512, lab.AVX2], ids=lambda isa: isa.name)


@ISA_LEVELS
@pytest.mark.parametrize("name", CASES)
def test_large_weights_are_fetched_ahead(name: str, isa: lab.IsaLevel) -> None:
    assert prefetches(CASES[name], isa) > 0


@ISA_LEVELS
@pytest.mark.parametrize("name", CASES)
def test_numbers_stay_right(name: str, isa: lab.IsaLevel) -> None:
    if not isa.runs_here:
        pytest.skip(f"needs {isa.flag}")
    job = lab.Job.make(Workload(CASES[name], "direct"), isa.cpu)
    kernel = lab.compile_jobs([job], isa.target(3))[job]
    inputs, weights = lab.random_inputs(job.workload, job.cpu), lab.plain_weights(job.workload)
    (y,) = lab.run(job, kernel, inputs, weights)
    expected = torch_reference.compute(job.workload, inputs, weights)
    assert lab.max_rel_error(y, expected) <= lab.TOLERANCE


def test_small_weights_are_not() -> None:
    small = conv2d.problem(n=1, h=28, w=28, ci=24, co=58, act="relu")
    many_tiles = conv2d.problem(n=1, h=56, w=56, ci=58, co=58, kh=3, kw=3, ph=1, pw=1)
    assert prefetches(small, lab.AVX512) == 0
    assert prefetches(many_tiles, lab.AVX512) == 0


def test_neon_kernels_are_as_they_were() -> None:
    assert prefetches(CASES["1x1"], lab.NARROW) == 0
