"""Images of another size: a few weighted pixels per output pixel, vectors along the channels.

Where they are and what each counts is computed once per row, and once per column and row, in whole
numbers as far as it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import WeightlessAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.activations import Activation
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import parallel
from tvm_flow.schedules.cpu.emit.vector import Expr, Value, bind, for_vectors, load, splat
from tvm_flow.schedules.cpu.ops.conv2d.emit import finish_and_store
from tvm_flow.schedules.operators.resize import RESIZE, TAPS, Axis, axes


class Resize(WeightlessAlgorithm):
    """See the module's text."""

    operator, name = RESIZE, "direct"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        tasks = 4 * device.threads
        return {"rows": max(1, min(8, problem["n"] * problem["oh"] // tasks))}

    def space(self, problem: Problem, device: Cpu) -> Space:
        total = problem["n"] * problem["oh"]
        choices = {rows for rows in (1, 2, 4, 8, 16) if rows <= total}
        return {"rows": sorted(choices | {self.default(problem, device)["rows"]})}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        total, rows = problem["n"] * problem["oh"], knobs["rows"]
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            act = activations.emitter(problem.text("act"), device)
            emitter = _RowEmitter(problem, device, args, act)
            with parallel(-(-total // rows), device.threads) as task:
                count = rows if total % rows == 0 else tirx.Min(total - task * rows, rows)
                with T.serial(0, count) as row:
                    emitter.emit(task * rows + row)
        return builder.get()


class _RowEmitter:
    """Emits output rows."""

    def __init__(
        self, problem: Problem, cpu: Cpu, args: Mapping[str, tirx.Buffer], act: Activation
    ) -> None:
        self.problem, self.args, self.act, self.lanes = problem, args, act, cpu.lanes
        self.rows, self.columns = axes(problem)

    def emit(self, row: Expr) -> None:
        """Row ``row`` of the n * oh there are."""
        p = self.problem
        image, y = row // p["oh"], row % p["oh"]
        start = image * (p["h"] * p["w"] * p["cp"]) + p["c0"]
        lines = self._places(self.rows, y, start, p["w"] * p["cp"])
        down = self._shares(self.rows, y)
        with T.serial(0, p["ow"]) as x:
            pixels = self._places(self.columns, x, 0, p["cp"])
            across = self._shares(self.columns, x)
            to = (row * p["ow"] + x) * p["c"]

            def vector(channel: Expr, width: int) -> None:
                sums = [
                    _sum([load(self.args["x"], line + pixel + channel, width) for pixel in pixels],
                         across, width)
                    for line in lines
                ]  # fmt: skip
                value = bind(_sum(sums, down, width), width)
                finish_and_store(
                    self.args, value, (to + channel, channel), width, width, self.act, p.text("res")
                )

            for_vectors(p["c"], self.lanes, vector)

    def _places(self, axis: Axis, at: Expr, start: Expr, pitch: int) -> list[Expr]:
        """Where the elements lie that make output ``at`` of an axis."""
        first = T.bind(axis.first(at))
        count = TAPS[axis.method]
        inside = (tirx.Max(tirx.Min(first + tap, axis.old - 1), 0) for tap in range(count))
        return [T.bind(start + place * pitch) for place in inside]

    def _shares(self, axis: Axis, at: Expr) -> list[Value]:
        """What they count; nothing for one that counts alone."""
        if axis.method == "nearest":
            return []
        rest, over = axis.rest(at)
        t = bind(tirx.Cast(FLOAT32, rest) * tirx.FloatImm(FLOAT32, 1.0 / over), 1)
        return [bind(share, 1) for share in axis.shares(t())]


def _sum(values: list[Expr], shares: list[Value], width: int) -> Expr:
    if not shares:
        return values[0]
    parts = (v * splat(share(), width) for v, share in zip(values, shares, strict=True))
    return reduce(lambda total, part: total + part, parts)
