"""Kernels with default knobs against PyTorch, for three vector widths."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import tvm_ffi

from tests.schedules import lab, torch_reference
from tests.schedules.cases import CASES
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.base import Workload

EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


def test_every_operator_has_cases() -> None:
    # other tests register families of their own in the same process
    shipped = {
        op
        for op in registry.operators()
        if type(registry.lookup(op)).__module__.startswith("schedules.")
    }
    assert set(CASES) == shipped, "add shapes to cases.py"


@pytest.fixture(params=lab.MACHINES.values(), ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> lab.Machine:
    if not request.param.runs_here:
        pytest.skip(f"needs {request.param.flag}")
    return request.param


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_kernel_equals_pytorch(workload: Workload, machine: lab.Machine) -> None:
    job = lab.Job.make(workload, machine.cpu)
    kernel = lab.default_kernels(workload.op, machine)[job]
    inputs, weights = lab.random_inputs(workload, machine.cpu), lab.plain_weights(workload)
    (y,) = lab.run(job, kernel, inputs, weights)
    expected = torch_reference.compute(workload, inputs, weights)
    assert y.shape == expected.shape
    assert lab.max_rel_error(y, expected) <= lab.TOLERANCE


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_reference_equals_pytorch(workload: Workload) -> None:
    inputs, weights = lab.random_inputs(workload, lab.AVX2.cpu), lab.plain_weights(workload)
    (y,) = registry.lookup(workload.op).reference(workload, inputs, weights)
    expected = torch_reference.compute(workload, inputs, weights)
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    assert lab.max_rel_error(y, expected) <= 1e-6


COPY = Workload.make("global_pool", n=1, h=1, w=1, c=5)  # the mean of one pixel is a copy


def _copy(x: tvm_ffi.Tensor, y: tvm_ffi.Tensor, length: int) -> None:
    source = (ctypes.c_float * 5).from_address(x.data_ptr())
    target = (ctypes.c_float * 8).from_address(y.data_ptr())
    for i in range(length):
        target[i] = source[i % 5]


@pytest.mark.parametrize("length", [4, 5, 6])
def test_the_guards_catch_what_is_missed_or_overrun(length: int) -> None:
    job, x = lab.Job.make(COPY, lab.AVX2.cpu), np.ones((1, 1, 1, 5), np.float32)

    def run() -> bool:
        (y,) = lab.run(job, lambda a, b: _copy(a, b, length), [x], {})
        return lab.max_rel_error(y, np.ones((1, 5))) <= lab.TOLERANCE

    if length > 5:
        with pytest.raises(AssertionError, match="out of bounds"):
            run()
    else:
        assert run() == (length == 5)
