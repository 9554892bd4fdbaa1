"""Pooling. ``pool2d``: max or average over a window; ``global_pool``: mean over all pixels.

``pool2d`` workload parameters: n, h, w, c; kh, kw, sh, sw, ph, pw; cp, c0; mode "max" or "avg"
(padding counts as zeros in the average, PyTorch's ``count_include_pad=True``).
``global_pool`` parameters: n, h, w, c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import inner_threads, parallel
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import f32, load, maximum, pieces, registers, store
from tvm_flow.schedules.cpu.emit.window import Accumulation, WindowShape, sweep
from tvm_flow.schedules.cpu.reference import windows
from tvm_flow.schedules.registry import register

LOWEST = -3.4028234663852886e38


def workload(**given: int | str) -> Workload:
    """A ``pool2d`` workload; n, h, w, c, kh, kw and mode must be given."""
    full: dict[str, int | str] = {
        "sh": 1, "sw": 1, "ph": 0, "pw": 0, "cp": given["c"], "c0": 0,
    }  # fmt: skip
    return Workload.make("pool2d", **{**full, **given})


class WeightlessFamily(Family):
    """An operator without weights."""

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        return {}

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return []


class Pool2d(WeightlessFamily):
    """See the module's text."""

    op = "pool2d"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        s = WindowShape.of(workload)
        return [
            TensorSpec("x", (s.n, s.h, s.w, s.cp), "input"),
            TensorSpec("y", (s.n, s.oh, s.ow, s.c), "output"),
        ]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, is_max = WindowShape.of(workload), workload.text("mode") == "max"
        x = inputs[0][..., s.c0 : s.c0 + s.c]
        fill = LOWEST if is_max else 0.0
        view = windows(x, (s.kh, s.kw), (s.sh, s.sw), (s.ph, s.pw), fill)
        y = view.max(axis=(4, 5)) if is_max else view.mean(axis=(4, 5), dtype=np.float64)
        return [np.ascontiguousarray(y, x.dtype)]

    def macs(self, workload: Workload) -> int:
        return 0

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        s = WindowShape.of(workload)
        return {"tile": min(s.ow, 7), "rows": max(1, min(8, s.n * s.oh // (4 * cpu.threads)))}

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        s, default = WindowShape.of(workload), self.default(workload, cpu)
        choices = {
            "tile": [t for t in (1, 2, 4, 7, 8, 14) if t <= s.ow],
            "rows": [r for r in (1, 2, 4, 7, 8, 14) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s, is_max = WindowShape.of(workload), workload.text("mode") == "max"
        scale = 1.0 if is_max else 1.0 / (s.kh * s.kw)
        how = Accumulation(
            start=lambda _channel, width: f32(LOWEST if is_max else 0.0, width),
            tap=lambda acc, x, _dy, _dx, _c, _w: maximum(acc, x) if is_max else acc + x,
            finish=lambda read, _c, width: read() if is_max else read() * f32(scale, width),
        )
        with IRBuilder() as builder, prim_func(self, workload, cpu, name) as args:
            sweep(
                s, args["x"], args["y"], how,
                tile=Tile(1, knobs["tile"]), rows=knobs["rows"],
                lanes=cpu.lanes, threads=cpu.threads,
            )  # fmt: skip
        return builder.get()


class GlobalPool(WeightlessFamily):
    """Mean over all pixels of each image: [n, h, w, c] -> [n, c]."""

    op = "global_pool"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        n, c = workload["n"], workload["c"]
        x = (n, workload["h"], workload["w"], c)
        return [TensorSpec("x", x, "input"), TensorSpec("y", (n, c), "output")]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        return [inputs[0].mean(axis=(1, 2), dtype=np.float64).astype(inputs[0].dtype)]

    def macs(self, workload: Workload) -> int:
        return 0

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        return {"panels": 4, "split": 0}

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        return {"panels": [1, 2, 4, 8], "split": [0, 1]}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, c, pixels = workload["n"], workload["c"], workload["h"] * workload["w"]
        chunk = cpu.lanes * knobs["panels"]
        with IRBuilder() as builder, prim_func(self, workload, cpu, name) as args:
            whole = c // chunk
            with parallel(n * whole, inner_threads(cpu, knobs)) as task:
                base = [(i * cpu.lanes, cpu.lanes) for i in range(knobs["panels"])]
                _mean(args, task // max(whole, 1), (task % max(whole, 1)) * chunk, base, c, pixels)
            rest = pieces(c - whole * chunk, cpu.lanes)
            if rest:
                with T.serial(0, n) as image:
                    for offset, width in rest:
                        _mean(args, image, whole * chunk, [(offset, width)], c, pixels)
        return builder.get()


def _mean(args, image, first, parts, c: int, pixels: int) -> None:  # type: ignore[no-untyped-def]
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


register(Pool2d())
register(GlobalPool())
