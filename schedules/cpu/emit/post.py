"""A scale and a shift per channel after an activation, for problems that have them (``post``).

They are stored with a vector's worth of padding, so that every vector of channels can be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import tirx

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.vector import Expr, Value, bind, load
from tvm_flow.schedules.operators.reference import POST


def post_weights(problem: Problem, device: Cpu, channels: int) -> list[TensorSpec]:
    """What is packed after the weights of a problem with ``channels`` outputs."""
    if not problem.get("post", 0):
        return []
    return packed(problem, **dict.fromkeys(POST, channels + device.lanes))


def pack_post(problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
    """The arrays of :func:`post_weights`."""
    if not problem.get("post", 0):
        return []
    return [np.pad(weights[name], (0, device.lanes)) for name in POST]


def scaled(args: Mapping[str, tirx.Buffer], value: Value, channel: Expr, width: int) -> Value:
    """``value``, of ``width`` output channels from ``channel`` on, scaled and shifted where the
    kernel has what it takes."""
    if POST[0] not in args:
        return value
    scale, shift = (load(args[name], channel, width) for name in POST)
    return bind(value() * scale + shift, width)
