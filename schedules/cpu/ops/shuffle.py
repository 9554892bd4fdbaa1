"""Channel shuffle of NHWC tensors.

Of every pixel the groups are runs of channels that are woven into one. A vector of each run is
loaded, and the vectors are woven in registers: an even number of runs by interleaving those of the
first half with those of the second, which leaves half as many runs that are twice as long, and so
on; an odd number by picking the lanes of every output.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import WeightlessAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import parallel
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    for_vectors,
    interleave_half,
    load,
    pick,
    store,
)
from tvm_flow.schedules.operators.shuffle import CHANNEL_SHUFFLE


class ChannelShuffle(WeightlessAlgorithm):
    """See the module's text."""

    operator, name = CHANNEL_SHUFFLE, "direct"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        return {"rows": max(1, min(8, problem["n"] * problem["h"] // (4 * device.threads)))}

    def space(self, problem: Problem, device: Cpu) -> Space:
        default = self.default(problem, device)["rows"]
        return {"rows": sorted({r for r in (1, 2, 4, 8, 16) if r <= problem["h"]} | {default})}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        rows, block = problem["n"] * problem["h"], knobs["rows"]
        c, groups = problem["c"], problem["groups"]
        run = c // groups
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:

            def vectors(start: Expr, channel: Expr, width: int) -> None:
                loaded = [
                    [bind(load(args["x"], start + g * run + channel, width), width)]
                    for g in range(groups)
                ]
                for i, value in enumerate(woven(loaded, width)):
                    store(args["y"], value(), start + channel * groups + i * width, width)

            with parallel(-(-rows // block), device.threads) as task:
                end = tirx.Min(task * block + block, rows) if rows % block else task * block + block
                with T.serial(0, (end - task * block) * problem["w"]) as pixel:
                    start = (task * (block * problem["w"]) + pixel) * c
                    for_vectors(run, device.lanes, lambda at, width: vectors(start, at, width))
        return builder.get()


def woven(runs: Sequence[Sequence[Value]], width: int) -> list[Value]:
    """Runs of as many vectors of ``width`` lanes each, lane by lane in turns."""
    if len(runs) == 1:
        return list(runs[0])
    if width == 1:
        return [value for lane in zip(*runs, strict=True) for value in lane]
    if len(runs) % 2:
        return [value for at in zip(*runs, strict=True) for value in _picked(at, width)]
    half = len(runs) // 2
    pairs = zip(runs[:half], runs[half:], strict=True)
    return woven([_interleaved(even, odd, width) for even, odd in pairs], width)


def _interleaved(even: Sequence[Value], odd: Sequence[Value], width: int) -> list[Value]:
    return [
        bind(interleave_half(a(), b(), width, half), width)
        for a, b in zip(even, odd, strict=True)
        for half in (0, 1)
    ]


def _picked(vectors: Sequence[Value], width: int) -> list[Value]:
    """One vector of every run: as many outputs."""
    count = len(vectors)
    order = [lane % count * width + lane // count for lane in range(count * width)]
    return [
        bind(pick([value() for value in vectors], order[i : i + width], width), width)
        for i in range(0, count * width, width)
    ]
