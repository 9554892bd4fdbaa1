"""Transposed convolution: by phases of the output."""

from __future__ import annotations

from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.ops.conv_transpose.direct import Direct

ALGORITHMS: list[CpuAlgorithm] = [Direct()]
