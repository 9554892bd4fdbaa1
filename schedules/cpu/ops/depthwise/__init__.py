"""Depthwise convolution."""

from __future__ import annotations

from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.ops.depthwise.direct import Direct
from tvm_flow.schedules.cpu.ops.depthwise.direct_nchw import DirectNchw

ALGORITHMS: list[CpuAlgorithm] = [Direct(), DirectNchw()]
