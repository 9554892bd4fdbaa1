"""Depthwise convolution of NHWC tensors. Weights are stored [kh][kw][c]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.post import pack_post, post_weights, scaled
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import bind, load
from tvm_flow.schedules.cpu.emit.window import Accumulation, sweep
from tvm_flow.schedules.operators.depthwise import DEPTHWISE
from tvm_flow.schedules.operators.sliding import WindowShape


class Direct(CpuAlgorithm):
    """See the module's text."""

    operator, name = DEPTHWISE, "direct"

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = WindowShape.of(problem)
        own = packed(problem, weight=s.kh * s.kw * s.c, bias=s.c)
        return [*own, *post_weights(problem, device, s.c)]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        own = [pack_taps(weights["weight"]), weights["bias"]]
        return [*own, *pack_post(problem, device, weights)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = WindowShape.of(problem)
        rows, columns = (1, 7) if device.by_lane else (4, 4) if device.registers >= 32 else (3, 3)
        if columns == 4 and s.sh == s.sw == 2 and s.kw == 3:
            # neighbouring windows share one column only: wide tiles save few loads (decision 0008)
            columns = 7 if s.ow <= 28 else 2
        return {
            "tile": min(s.ow, columns),
            "th": min(s.oh, rows),
            "rows": max(1, min(8, s.n * s.oh // (4 * device.threads))),
        }

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = WindowShape.of(problem), self.default(problem, device)
        choices = {
            "tile": [t for t in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14) if t <= s.ow],
            "th": [t for t in (1, 2, 3, 4, 7) if t <= s.oh],
            "rows": [r for r in (1, 2, 4, 7, 8, 14, 16, 28, 56) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s, tile = WindowShape.of(problem), Tile(knobs["th"], knobs["tile"])
        device.check_window_tile(tile.pixels)
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            act = activations.emitter(problem.text("act"), device)
            how = accumulation(s, args["weight"], args["bias"], act)
            if problem.get("post", 0):
                how = replace(how, finish=lambda read, channel, width: scaled(
                    args, bind(act(read, width), width), channel, width
                )())  # fmt: skip
            sweep(
                s, args["x"], args["y"], how,
                tile=tile, rows=knobs["rows"], lanes=device.lanes, threads=device.threads,
            )  # fmt: skip
        return builder.get()


def accumulation(
    s: WindowShape, weight: tirx.Buffer, bias: tirx.Buffer, act: activations.Activation
) -> Accumulation:
    """Bias, products with the packed weights, activation."""
    return Accumulation(
        start=lambda channel, width: load(bias, channel, width),
        tap=lambda acc, x, dy, dx, channel, width: (
            acc + x * load(weight, (dy * s.kw + dx) * s.c + channel, width)
        ),
        finish=lambda read, _channel, width: act(read, width),
    )


def pack_taps(weight: Array) -> Array:
    """[c, kh, kw] -> flat [kh][kw][c]."""
    return np.ascontiguousarray(weight.transpose(1, 2, 0)).reshape(-1)
