"""Kernels with default knobs against PyTorch, for three vector widths."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest
import tvm_ffi

from tests.schedules import lab, torch_reference
from tests.schedules.cases import CASES, generator_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload

EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


def test_every_algorithm_has_cases() -> None:
    # other tests register algorithms of their own in the same process
    shipped = {
        (way.op, layout, way.name)
        for way in registry.every()
        if type(way).__module__.startswith("tvm_flow.schedules.")
        for layout in way.layouts
    }
    known = {(work.problem.op, work.problem.layout, work.algorithm) for work in EVERY_CASE}
    assert known == shipped, "add shapes to cases.py"


@pytest.fixture(params=lab.ISA_LEVELS.values(), ids=lambda isa: isa.name)
def isa(request: pytest.FixtureRequest) -> lab.IsaLevel:
    if not request.param.runs_here:
        pytest.skip(f"needs {request.param.flag}")
    return request.param


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_kernel_equals_pytorch(workload: Workload, isa: lab.IsaLevel) -> None:
    job = lab.Job.make(workload, isa.cpu)
    kernel = lab.default_kernels(generator_of(workload), isa)[job]
    inputs, weights = lab.random_inputs(workload, isa.cpu), lab.plain_weights(workload)
    (y,) = lab.run(job, kernel, inputs, weights)
    expected = torch_reference.compute(workload, inputs, weights)
    assert y.shape == expected.shape
    assert lab.max_rel_error(y, expected) <= lab.TOLERANCE


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_reference_equals_pytorch(workload: Workload) -> None:
    inputs, weights = lab.random_inputs(workload, lab.AVX2.cpu), lab.plain_weights(workload)
    problem = workload.problem
    (y,) = registry.operator(problem.op).reference(problem, inputs, weights)
    expected = torch_reference.compute(workload, inputs, weights)
    assert y.dtype == np.float32
    assert y.shape == expected.shape
    assert lab.max_rel_error(y, expected) <= 1e-6


#: One of every operator, algorithm, activation and kind of pooling.
KINDS = {
    (
        w.problem.op,
        w.algorithm,
        *(dict(w.problem.params).get(k) for k in ("act", "act2", "mode")),
    ): w
    for w in EVERY_CASE
}
#: They add and subtract inputs of neighbouring outputs: NaN reaches those as well.
SPREADING = re.compile("winograd|strassen")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("workload", KINDS.values(), ids=str)
def test_nan_and_infinity_come_out_as_of_pytorch(workload: Workload, value: float) -> None:
    """Planted at one place of what the kernel reads."""
    isa = lab.AVX512
    if not isa.runs_here:
        pytest.skip(f"needs {isa.flag}")
    job = lab.Job.make(workload, isa.cpu)
    kernel = lab.default_kernels(generator_of(workload), isa)[job]
    inputs, weights = lab.random_inputs(workload, isa.cpu), lab.plain_weights(workload)
    read = np.argwhere(np.isfinite(inputs[0]))
    inputs[0][tuple(read[len(read) // 3])] = value
    (y,) = lab.run(job, kernel, inputs, weights)
    expected = torch_reference.compute(workload, inputs, weights)
    if "gelu" in workload.key and not np.isnan(value):
        # of minus infinity: its limit, 0, where PyTorch multiplies infinity by zero
        assert not np.isfinite(y[np.isposinf(expected)]).any()
    elif SPREADING.search(workload.algorithm):
        assert not np.isfinite(y[np.isnan(expected)]).any()
    elif workload.problem.op == "resize":
        # PyTorch also reads neighbours whose weight is zero, and makes NaN of them
        assert not np.isnan(y[~np.isnan(expected)]).any()
        assert np.isnan(y).any() or not np.isnan(value)
    else:
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        infinite = np.isinf(expected)
        np.testing.assert_array_equal(y[infinite], expected[infinite])
        assert np.isinf(y).sum() == infinite.sum()


COPY = Problem.make("global_pool", n=1, h=1, w=1, c=5)  # the mean of one pixel is a copy


def _copy(x: tvm_ffi.Tensor, y: tvm_ffi.Tensor, length: int) -> None:
    source = (ctypes.c_float * 5).from_address(x.data_ptr())
    target = (ctypes.c_float * 8).from_address(y.data_ptr())
    for i in range(length):
        target[i] = source[i % 5]


@pytest.mark.parametrize("length", [4, 5, 6])
def test_the_guards_catch_what_is_missed_or_overrun(length: int) -> None:
    job, x = lab.Job.make(Workload(COPY, "direct"), lab.AVX2.cpu), np.ones((1, 1, 1, 5), np.float32)

    def run() -> bool:
        (y,) = lab.run(job, lambda a, b: _copy(a, b, length), [x], {})
        return lab.max_rel_error(y, np.ones((1, 5))) <= lab.TOLERANCE

    if length > 5:
        with pytest.raises(AssertionError, match="out of bounds"):
            run()
    else:
        assert run() == (length == 5)
