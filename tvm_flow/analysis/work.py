"""What a kernel makes the machine do: vector instructions, and bytes in and out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_flow.analysis.parts import (
    ACT,
    ADD,
    CONV,
    DEPTHWISE,
    LAYOUT,
    MATMUL,
    OTHER,
    PCONV,
    POOL,
    Part,
    parts_of,
)
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.operators.activations import parse

#: Vector instructions per vector of an activation, counted in ``schedules/cpu/emit/activations.py``
#: and ``gelu.py``: additions, products, comparisons and lookups; a division counts for eight.
ACT_OPERATIONS = {
    "relu": 1, "relu6": 2, "hardsigmoid": 3, "hardswish": 4, "gelu": 19, "sigmoid": 25, "silu": 26,
    "tanh": 40, "softplus": 51, "mish": 27, "gelu_tanh": 29,
}  # fmt: skip
#: The same of those that have numbers only.
_WITH_NUMBERS = {"clip": 2, "leakyrelu": 3, "elu": 28}
#: The same of GELU by lookup, where the core has one.
GELU_BY_LOOKUP = 12
#: Floating-point instructions of Winograd's transforms per tile and channel, of inputs and of
#: outputs: table in section 4 of Lavin and Gray, arXiv 1509.09308.
_TRANSFORMS = {2: (32, 24), 4: (156, 90)}

#: Operators that may read a part of their input's channels or pixels.
_SLICED = ("conv2d", "conv3d", "conv_transpose", "depthwise", "mbconv", "pool2d")


@dataclass(frozen=True)
class Work:
    """Of one call of a kernel.

    ``slots``: multiply-accumulates, or other arithmetic that takes as long, with the lanes that
    padding wastes, of the algorithm that is used. ``useful``: the same without padding.
    ``read``, ``weights`` and ``written``: bytes, each counted once, in the layout in which they
    are stored: what crosses memory at least.
    """

    slots: int
    useful: int
    read: int
    weights: int
    written: int

    @property
    def moved(self) -> int:
        return self.read + self.weights + self.written


def work_of(workload: Workload, device: Cpu) -> Work:
    """What a call of a kernel is to the device. Raises ``KeyError`` for an unknown algorithm."""
    problem, algorithm = workload.problem, registry.algorithm(workload, device.kind)
    parts = parts_of(problem)
    name = workload.algorithm
    return Work(
        slots=sum(slots(part, name, device, device.lanes) for part in parts),
        useful=sum(slots(part, name, device, 1) for part in parts),
        read=_bytes_read(problem, parts),
        weights=sum(spec.bytes for spec in algorithm.weights(problem, device)),
        written=sum(spec.bytes for spec in algorithm.operator.outputs(problem)),
    )


def slots(part: Part, algorithm: str, device: Cpu, lanes: int) -> int:
    """Arithmetic of one layer, in multiply-accumulates of vectors that are cut to ``lanes``."""
    wide = _padded(part, lanes)
    winograd = re.search(r"winograd(\d)", algorithm)
    if winograd and part.window == (3, 3) and part.kind in (CONV, PCONV):
        return _winograd(part, int(winograd[1]), lanes)
    if part.kind in (CONV, PCONV, MATMUL, DEPTHWISE):
        direct = part.macs // part.channels * wide
        return direct * 7 // 8 if "strassen" in algorithm and part.kind == CONV else direct
    if part.kind == POOL:
        return part.pixels * part.reduction * wide
    if part.kind == ACT:
        return part.pixels * wide * _price(part.act, device)
    return part.pixels * part.reduction * wide if part.kind in (ADD, LAYOUT, OTHER) else 0


def _price(act: str, device: Cpu) -> int:
    if act == "gelu" and device.lookup:
        return GELU_BY_LOOKUP
    return (ACT_OPERATIONS | _WITH_NUMBERS)[parse(act)[0]]


def _padded(part: Part, lanes: int) -> int:
    """Channels of the output with those that fill up vectors: of each group, unless every group
    has one input channel, where vectors hold several groups."""
    if part.groups == 1 or part.inputs == 1:
        return Panels(part.channels, lanes).padded
    return part.groups * Panels(part.channels // part.groups, lanes).padded


def _winograd(part: Part, m: int, lanes: int) -> int:
    """Products of all tiles and the transforms of what goes in and comes out of them."""
    images = part.pixels // (part.image[0] * part.image[1])
    tiles = images * -(-part.image[0] // m) * -(-part.image[1] // m)
    into, out = _TRANSFORMS[m]
    wide, deep = Panels(part.channels, lanes).padded, Panels(part.inputs, lanes).padded
    return tiles * ((m + 2) ** 2 * part.inputs * wide + into * deep + out * wide)


def _bytes_read(problem: Problem, parts: Sequence[Part]) -> int:
    """Of all inputs: of a slice only its channels, of a stride only the pixels it touches."""
    total = 0
    for spec in registry.operator(problem.op).inputs(problem):
        if spec.name == "x" and problem.op in _SLICED:
            total += problem.dtype.bytes * parts[0].reads
        elif spec.name == "bypass":
            total += spec.bytes * problem["co"] // problem["bcp"]
        else:
            total += spec.bytes
    return total
