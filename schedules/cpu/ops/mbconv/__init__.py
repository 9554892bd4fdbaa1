"""1x1 -> depthwise -> 1x1 as one operator."""

from __future__ import annotations

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.ops.mbconv.rows import Rows
from tvm_flow.schedules.cpu.ops.mbconv.whole import Whole
from tvm_flow.schedules.operators.mbconv import window

_ROWS, _WHOLE = Rows(), Whole()
ALGORITHMS: list[CpuAlgorithm] = [_ROWS, _WHOLE]


def ranked(problem: Problem, cpu: Cpu) -> list[CpuAlgorithm]:
    """Row by row first where the hidden tensor does not fit the last cache."""
    s = window(problem, problem["hid"])
    hidden = problem.dtype.bytes * s.n * s.h * s.w * s.c
    return [_ROWS, _WHOLE] if hidden > cpu.last_cache_bytes else [_WHOLE, _ROWS]
