"""Convolution: direct, Winograd, narrow groups, and 1x1 between NCHW tensors."""

from __future__ import annotations

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.winograd import positions
from tvm_flow.schedules.cpu.ops.conv2d.direct import Direct
from tvm_flow.schedules.cpu.ops.conv2d.direct_nchw import DirectNchw
from tvm_flow.schedules.cpu.ops.conv2d.narrow import Narrow
from tvm_flow.schedules.cpu.ops.conv2d.winograd import Winograd, phase_of

_DIRECT, _WINOGRAD = (Direct(), DirectNchw()), (Winograd(2), Winograd(4))
_NARROW = Narrow()
ALGORITHMS: list[CpuAlgorithm] = [*_DIRECT, _NARROW, *_WINOGRAD]

#: Fewest channels for which Winograd's transforms are worth their while.
WINOGRAD_CHANNELS = 16
#: What reading one weight from memory costs, in multiply-accumulates (decision 0007).
WEIGHT_COST = 12
#: The same from the last cache (decision 0021).
CACHED_WEIGHT_COST = 2


def ranked(problem: Problem, cpu: Cpu) -> list[CpuAlgorithm]:
    """By multiply-accumulates and weights to read; direct first where channels are few, narrow
    groups several to a vector."""
    direct: list[CpuAlgorithm] = [way for way in _DIRECT if way.applies(problem, cpu)]
    if _NARROW.applies(problem, cpu):
        return [_NARROW, *direct]
    if not _WINOGRAD[0].applies(problem, cpu):
        return direct
    winograd = sorted(_WINOGRAD, key=lambda way: _winograd_cost(way.m, problem, cpu))
    fewest = _winograd_cost(winograd[0].m, problem, cpu)
    pays = fewest < 9 * (problem["h"] * problem["w"] + WEIGHT_COST)
    narrow = min(problem["co"], problem["ci"]) < WINOGRAD_CHANNELS
    return [*winograd, *direct] if pays and not narrow else [*direct, *winograd]


def _winograd_cost(m: int, problem: Problem, cpu: Cpu) -> int:
    """Multiply-accumulates and weights to read, per input and output channel: from memory once, by
    every further phase of a dilated convolution from the cache that they fit."""
    phase = phase_of(problem)
    phases = phase["n"] // problem["n"]
    tiles = phases * -(-phase["h"] // m) * -(-phase["w"] // m)
    size = problem.dtype.bytes * positions(m) * problem["ci"] * problem["co"]
    again = 0 if size <= cpu.l2_bytes else CACHED_WEIGHT_COST
    again = again if size <= cpu.last_cache_bytes else WEIGHT_COST
    return positions(m) * (tiles + WEIGHT_COST + (phases - 1) * again)
