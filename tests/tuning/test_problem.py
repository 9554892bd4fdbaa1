"""What a candidate is given and checked against, for any element type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.schedules import lab
from tests.schedules.typed_kernels import TypedConv
from tvm_flow.schedules.contract.base import Array, Workload
from tvm_flow.schedules.contract.dtypes import FLOAT16, FLOAT32, INT8, INT32, UINT8, DType
from tvm_flow.tuning.worker.problem import Guarded, Problem, WrongResult, pose


def typed(dtype: DType, tmp_path: Path) -> Problem:
    workload = Workload.make("typed_conv", h=3, w=4, ci=5, co=6, dtype=dtype, act="none")
    return pose(TypedConv(), workload, lab.AVX2.cpu, seed=1, file=tmp_path / "y.npz")


def solved(problem: Problem) -> list[Guarded]:
    """What a right kernel leaves behind."""
    buffers = problem.buffers()
    for buffer, want in zip(buffers[len(problem.given) :], problem.expected, strict=True):
        buffer.array[...] = want
    return buffers


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8, UINT8, INT32])
class TestProblemData:
    def test_types_and_ranges(self, dtype: DType, tmp_path: Path) -> None:
        problem = typed(dtype, tmp_path)
        arrays = (*problem.given, *problem.expected)
        for spec, array in zip(problem.specs, arrays, strict=True):
            assert DType.of(array) is spec.dtype
            assert array.nbytes == spec.bytes
        if dtype.is_float:
            assert abs(float(np.std(problem.given[0])) - 1) < 0.3
        elif dtype.bytes == 1:  # the whole range, but for the number without an opposite
            info = np.iinfo(dtype)
            x = problem.given[0]
            assert max(info.min, -info.max) <= x.min() < info.min / 2 + 20 < info.max / 2 < x.max()

    def test_a_restarted_worker_reads_the_same(self, dtype: DType, tmp_path: Path) -> None:
        first, second = typed(dtype, tmp_path), typed(dtype, tmp_path)
        for a, b in zip(
            (*first.given, *first.expected), (*second.given, *second.expected), strict=True
        ):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)

    def test_the_right_result_passes(self, dtype: DType, tmp_path: Path) -> None:
        problem = typed(dtype, tmp_path)
        problem.check(solved(problem), 0)

    def test_guards(self, dtype: DType, tmp_path: Path) -> None:
        problem = typed(dtype, tmp_path)
        for at, spec in enumerate(problem.specs):
            for place in (-1, spec.bytes):
                buffers = solved(problem)
                assert buffers[at].array.ctypes.data % 64 == 0
                buffers[at].zone[buffers[at].lead + place] ^= 1
                with pytest.raises(WrongResult, match=f"writes outside of {spec.name}"):
                    problem.check(buffers, 1)

    def test_inputs_stay(self, dtype: DType, tmp_path: Path) -> None:
        problem = typed(dtype, tmp_path)
        buffers = solved(problem)
        buffers[1].array.reshape(-1)[3] += 1
        with pytest.raises(WrongResult, match="writes to its weight weight"):
            problem.check(buffers, 1)

    def test_every_element_must_be_written(self, dtype: DType, tmp_path: Path) -> None:
        problem = typed(dtype, tmp_path)
        for at in range(problem.expected[0].size):
            buffers = solved(problem)
            buffers[-1].array.reshape(-1)[at] = problem.unwritten()[0].reshape(-1)[at]
            with pytest.raises(WrongResult, match=r"^1 of 72 elements of y are"):
                problem.check(buffers, 1)

    def test_what_is_close_enough(self, dtype: DType, tmp_path: Path) -> None:
        """Integers must be equal, floats as near as said, or as their type can tell."""
        problem = typed(dtype, tmp_path)
        buffers = solved(problem)
        greatest = np.abs(problem.expected[0]).max()
        step = 1 if not dtype.is_float else 0.01 * greatest
        buffers[-1].array.reshape(-1)[7] += step
        if dtype.is_float:
            problem.check(buffers, 0.012)
        with pytest.raises(WrongResult, match=r"1 of 72 elements|y is off by"):
            problem.check(buffers, 0.008)


def test_a_family_that_contradicts_its_types_is_found_out(tmp_path: Path) -> None:
    class Contradicting(TypedConv):
        def reference(self, *given: Any) -> list[Array]:
            return [output.astype(np.int64) for output in super().reference(*given)]

    workload = Workload.make("typed_conv", h=1, w=1, ci=1, co=1, dtype=INT8, act="none")
    with pytest.raises(TypeError, match="y is int64, but the kernel has int32"):
        pose(Contradicting(), workload, lab.AVX2.cpu, seed=0, file=tmp_path / "y.npz")
