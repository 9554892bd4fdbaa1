"""Pooling: max or average over a window, and the mean over all pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import WeightlessAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import inner_threads, parallel
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import Expr, f32, load, maximum, pieces, registers, store
from tvm_flow.schedules.cpu.emit.window import Accumulation, sweep
from tvm_flow.schedules.operators.pooling import GLOBAL_POOL, LOWEST, POOL2D
from tvm_flow.schedules.operators.sliding import WindowShape


class Pool2d(WeightlessAlgorithm):
    """See the module's text."""

    operator, name = POOL2D, "direct"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = WindowShape.of(problem)
        return {"tile": min(s.ow, 7), "rows": max(1, min(8, s.n * s.oh // (4 * device.threads)))}

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = WindowShape.of(problem), self.default(problem, device)
        choices = {
            "tile": [t for t in (1, 2, 4, 7, 8, 14) if t <= s.ow],
            "rows": [r for r in (1, 2, 4, 7, 8, 14) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s, is_max = WindowShape.of(problem), problem.text("mode") == "max"
        scale = 1.0 if is_max else 1.0 / (s.kh * s.kw)
        how = Accumulation(
            start=lambda _channel, width: f32(LOWEST if is_max else 0.0, width),
            tap=lambda acc, x, _dy, _dx, _c, _w: maximum(acc, x) if is_max else acc + x,
            finish=lambda read, _c, width: read() if is_max else read() * f32(scale, width),
        )
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            sweep(
                s, args["x"], args["y"], how,
                tile=Tile(1, knobs["tile"]), rows=knobs["rows"],
                lanes=device.lanes, threads=device.threads,
            )  # fmt: skip
        return builder.get()


class GlobalPool(WeightlessAlgorithm):
    """Mean over all pixels of each image: [n, h, w, c] -> [n, c]."""

    operator, name = GLOBAL_POOL, "direct"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        return {"panels": 4, "split": 0}

    def space(self, problem: Problem, device: Cpu) -> Space:
        return {"panels": [1, 2, 4, 8], "split": [0, 1]}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, c, pixels = problem["n"], problem["c"], problem["h"] * problem["w"]
        chunk = device.lanes * knobs["panels"]
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            whole = c // chunk
            with parallel(n * whole, inner_threads(device, knobs)) as task:
                base = [(i * device.lanes, device.lanes) for i in range(knobs["panels"])]
                _mean(args, task // max(whole, 1), (task % max(whole, 1)) * chunk, base, c, pixels)
            rest = pieces(c - whole * chunk, device.lanes)
            if rest:
                with T.serial(0, n) as image:
                    for offset, width in rest:
                        _mean(args, image, whole * chunk, [(offset, width)], c, pixels)
        return builder.get()


def _mean(
    args: Mapping[str, tirx.Buffer], image: Expr, first: Expr, parts: Sequence[tuple[int, int]],
    c: int, pixels: int,
) -> None:  # fmt: skip
    """Mean of the channel vectors ``first + offset`` for each (offset, width) of ``parts``."""
    sums = [registers(width) for _, width in parts]
    for total, (_, width) in zip(sums, parts, strict=True):
        store(total, f32(0.0, width), 0, width)
    with T.serial(0, pixels) as p:
        for total, (offset, width) in zip(sums, parts, strict=True):
            value = load(args["x"], (image * pixels + p) * c + first + offset, width)
            store(total, load(total, 0, width) + value, 0, width)
    for total, (offset, width) in zip(sums, parts, strict=True):
        mean = load(total, 0, width) * f32(1.0 / pixels, width)
        store(args["y"], mean, image * c + first + offset, width)
