"""The algorithms for CPUs that ship with the project, and in which order to take them."""

from __future__ import annotations

from collections.abc import Callable

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.ops import conv2d, conv_transpose, depthwise, mbconv, pconv
from tvm_flow.schedules.cpu.ops.conv3d import Conv3d
from tvm_flow.schedules.cpu.ops.matmul import Matmul
from tvm_flow.schedules.cpu.ops.pooling import GlobalPool, Pool2d
from tvm_flow.schedules.cpu.ops.resize import Resize
from tvm_flow.schedules.cpu.ops.shuffle import ChannelShuffle
from tvm_flow.schedules.cpu.ops.transpose import Transpose

ALGORITHMS: list[CpuAlgorithm] = [
    *conv2d.ALGORITHMS,
    Conv3d(),
    *conv_transpose.ALGORITHMS,
    *depthwise.ALGORITHMS,
    *mbconv.ALGORITHMS,
    *pconv.ALGORITHMS,
    Matmul(),
    Pool2d(),
    GlobalPool(),
    Transpose(),
    Resize(),
    ChannelShuffle(),
]

_RANKED: dict[str, Callable[[Problem, Cpu], list[CpuAlgorithm]]] = {
    "conv2d": conv2d.ranked,
    "mbconv": mbconv.ranked,
    "pconv": pconv.ranked,
    "pconv_pointwise": pconv.ranked,
    "pconv_block": pconv.ranked,
}


def ranked(problem: Problem, cpu: Cpu) -> list[CpuAlgorithm]:
    """Those worth trying for ``problem``, the one to take without measurements first."""
    if problem.op in _RANKED:
        return _RANKED[problem.op](problem, cpu)
    return [way for way in ALGORITHMS if way.applies(problem, cpu)]
