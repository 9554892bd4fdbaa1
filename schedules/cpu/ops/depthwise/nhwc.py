"""Depthwise convolution with bias and activation.

``depthwise`` workload parameters: n, h, w, c; kh, kw, sh, sw, ph, pw; cp, c0 (channels of the
input tensor and first one read); act. Weights are stored [kh][kw][c].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import load
from tvm_flow.schedules.cpu.emit.window import Accumulation, WindowShape, sweep
from tvm_flow.schedules.cpu.reference import depthwise_nhwc
from tvm_flow.schedules.registry import register


def workload(**given: int | str) -> Workload:
    """A ``depthwise`` workload; everything but n, h, w, c has a default."""
    full: dict[str, int | str] = {
        "kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1, "cp": given["c"], "c0": 0,
        "act": "none",
    }  # fmt: skip
    return Workload.make("depthwise", **{**full, **given})


class Depthwise(Family):
    """See the module's text."""

    op = "depthwise"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        s = WindowShape.of(workload)
        return [
            TensorSpec("x", (s.n, s.h, s.w, s.cp), "input"),
            TensorSpec("weight", (s.kh * s.kw * s.c,), "weight"),
            TensorSpec("bias", (s.c,), "weight"),
            TensorSpec("y", (s.n, s.oh, s.ow, s.c), "output"),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        s = WindowShape.of(workload)
        return {"weight": (s.c, s.kh, s.kw), "bias": (s.c,)}

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [pack_taps(weights["weight"]), weights["bias"]]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s = WindowShape.of(workload)
        x = inputs[0][..., s.c0 : s.c0 + s.c]
        y = depthwise_nhwc(x, weights["weight"], weights["bias"], (s.sh, s.sw), (s.ph, s.pw))
        return [activations.reference(workload.text("act"), y)]

    def macs(self, workload: Workload) -> int:
        s = WindowShape.of(workload)
        return s.n * s.oh * s.ow * s.c * s.kh * s.kw

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        s = WindowShape.of(workload)
        rows, columns = (1, 7) if cpu.by_lane else (4, 4) if cpu.registers >= 32 else (3, 3)
        if columns == 4 and s.sh == s.sw == 2 and s.kw == 3:
            # 192 channels at 28 x 28: 7.9 > 6.3 us; 96 at 112 x 112: 69.6 > 66.0 (Zen 5)
            columns = 7 if s.ow <= 28 else 2
        return {
            "tile": min(s.ow, columns),
            "th": min(s.oh, rows),
            "rows": max(1, min(8, s.n * s.oh // (4 * cpu.threads))),
        }

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        s, default = WindowShape.of(workload), self.default(workload, cpu)
        choices = {
            "tile": [t for t in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14) if t <= s.ow],
            "th": [t for t in (1, 2, 3, 4, 7) if t <= s.oh],
            "rows": [r for r in (1, 2, 4, 7, 8, 14, 16, 28, 56) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s, tile = WindowShape.of(workload), Tile(knobs["th"], knobs["tile"])
        cpu.check_window_tile(tile.pixels)
        with IRBuilder() as builder, prim_func(self, workload, cpu, name) as args:
            act = activations.emitter(workload.text("act"), cpu)
            how = accumulation(s, args["weight"], args["bias"], act)
            sweep(
                s, args["x"], args["y"], how,
                tile=tile, rows=knobs["rows"], lanes=cpu.lanes, threads=cpu.threads,
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


register(Depthwise())
