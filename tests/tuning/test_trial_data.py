"""What a candidate is given and checked against, for any element type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.schedules import lab
from tests.schedules.typed_kernels import TypedConv, TypedDirect
from tvm_flow.schedules.contract.dtypes import FLOAT16, FLOAT32, INT8, INT32, UINT8, DType
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.tuning.worker.trial_data import Guarded, TrialData, WrongResult, pose


def typed(dtype: DType, tmp_path: Path) -> TrialData:
    problem = Problem.make("typed_conv", h=3, w=4, ci=5, co=6, dtype=dtype, act="none")
    return pose(TypedDirect(), problem, lab.AVX2.cpu, seed=1, file=tmp_path / "y.npz")


def solved(data: TrialData) -> list[Guarded]:
    """What a right kernel leaves behind."""
    buffers = data.buffers()
    for buffer, want in zip(buffers[len(data.given) :], data.expected, strict=True):
        buffer.array[...] = want
    return buffers


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8, UINT8, INT32])
class TestTrialData:
    def test_types_and_ranges(self, dtype: DType, tmp_path: Path) -> None:
        data = typed(dtype, tmp_path)
        arrays = (*data.given, *data.expected)
        for spec, array in zip(data.specs, arrays, strict=True):
            assert DType.of(array) is spec.dtype
            assert array.nbytes == spec.bytes
        if dtype.is_float:
            assert abs(float(np.std(data.given[0])) - 1) < 0.3
        elif dtype.bytes == 1:  # the whole range, but for the number without an opposite
            info = np.iinfo(dtype)
            x = data.given[0]
            assert max(info.min, -info.max) <= x.min() < info.min / 2 + 20 < info.max / 2 < x.max()

    def test_a_restarted_worker_reads_the_same(self, dtype: DType, tmp_path: Path) -> None:
        first, second = typed(dtype, tmp_path), typed(dtype, tmp_path)
        for a, b in zip(
            (*first.given, *first.expected), (*second.given, *second.expected), strict=True
        ):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)

    def test_the_right_result_passes(self, dtype: DType, tmp_path: Path) -> None:
        data = typed(dtype, tmp_path)
        data.check(solved(data), 0)

    def test_guards(self, dtype: DType, tmp_path: Path) -> None:
        data = typed(dtype, tmp_path)
        for at, spec in enumerate(data.specs):
            for place in (-1, spec.bytes):
                buffers = solved(data)
                assert buffers[at].array.ctypes.data % 64 == 0
                buffers[at].zone[buffers[at].lead + place] ^= 1
                with pytest.raises(WrongResult, match=f"writes outside of {spec.name}"):
                    data.check(buffers, 1)

    def test_inputs_stay(self, dtype: DType, tmp_path: Path) -> None:
        data = typed(dtype, tmp_path)
        buffers = solved(data)
        buffers[1].array.reshape(-1)[3] += 1
        with pytest.raises(WrongResult, match="writes to its weight weight"):
            data.check(buffers, 1)

    def test_every_element_must_be_written(self, dtype: DType, tmp_path: Path) -> None:
        data = typed(dtype, tmp_path)
        for at in range(data.expected[0].size):
            buffers = solved(data)
            buffers[-1].array.reshape(-1)[at] = data.unwritten()[0].reshape(-1)[at]
            with pytest.raises(WrongResult, match=r"^1 of 72 elements of y are"):
                data.check(buffers, 1)

    def test_what_is_close_enough(self, dtype: DType, tmp_path: Path) -> None:
        """Integers must be equal, floats as near as said, or as their type can tell."""
        data = typed(dtype, tmp_path)
        buffers = solved(data)
        greatest = np.abs(data.expected[0]).max()
        step = 1 if not dtype.is_float else 0.01 * greatest
        buffers[-1].array.reshape(-1)[7] += step
        if dtype.is_float:
            data.check(buffers, 0.012)
        with pytest.raises(WrongResult, match=r"1 of 72 elements|y is off by"):
            data.check(buffers, 0.008)


def test_an_operator_that_contradicts_its_types_is_found_out(tmp_path: Path) -> None:
    class Contradicting(TypedConv):
        def reference(self, *given: Any) -> list[Array]:
            return [output.astype(np.int64) for output in super().reference(*given)]

    class Direct(TypedDirect):
        operator = Contradicting()

    problem = Problem.make("typed_conv", h=1, w=1, ci=1, co=1, dtype=INT8, act="none")
    with pytest.raises(TypeError, match="y is int64, but the kernel has int32"):
        pose(Direct(), problem, lab.AVX2.cpu, seed=0, file=tmp_path / "y.npz")
