"""Dense 3 x 3 convolution, stride 1, same padding, by Winograd F(m x m, 3 x 3).

``conv2d_winograd`` workload parameters: n, h, w, ci, co; m (2 or 4); icp, ic0 (channels of the
input tensor and first one read); act; res ("none", "pre" or "post").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.cpu.emit import activations, winograd
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Tiling, inner_threads, parallel
from tvm_flow.schedules.cpu.emit.packing import Panels, balanced, even_rows, pack_vector
from tvm_flow.schedules.cpu.emit.staging import Source, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr
from tvm_flow.schedules.cpu.ops.conv2d.emit import finish_and_store
from tvm_flow.schedules.cpu.reference import conv2d_nhwc
from tvm_flow.schedules.registry import register


class Conv2dWinograd(Family):
    """See the module's text."""

    op = "conv2d_winograd"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        n, h, w, co = (workload[k] for k in ("n", "h", "w", "co"))
        panels = Panels(co, cpu.lanes)
        specs = [TensorSpec("x", (n, h, w, workload["icp"]), "input")]
        if workload.text("res") != "none":
            specs.append(TensorSpec("residual", (n, h, w, co), "input"))
        size = winograd.packed_size(workload["m"], workload["ci"], panels)
        return [
            *specs,
            TensorSpec("weight", (size,), "weight"),
            TensorSpec("bias", (panels.padded,), "weight"),
            TensorSpec("y", (n, h, w, co), "output"),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        co = workload["co"]
        return {"weight": (co, workload["ci"], 3, 3), "bias": (co,)}

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        packed = winograd.pack_weights(weights["weight"], workload["m"], cpu.lanes)
        return [packed, pack_vector(weights["bias"], cpu.lanes)]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        first, res = workload["ic0"], workload.text("res")
        x = inputs[0][..., first : first + workload["ci"]]
        y = conv2d_nhwc(x, weights["weight"], weights["bias"], (1, 1), (1, 1))
        y = y + inputs[1] if res == "pre" else y
        y = activations.reference(workload.text("act"), y)
        return [y + inputs[1] if res == "post" else y]

    def macs(self, workload: Workload) -> int:
        n, h, w, ci, co = (workload[k] for k in ("n", "h", "w", "ci", "co"))
        return n * h * w * ci * co * 9

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        m, h, w, n = (workload[k] for k in ("m", "h", "w", "n"))
        across, down = -(-w // m), -(-h // m)
        size = workload.dtype.bytes * winograd.positions(m)
        per_row = size * across * (workload["ci"] + workload["co"])
        fit = max(1, cpu.l2_bytes // 2 // per_row)
        weights = size * workload["ci"] * workload["co"]
        # Threads that share out rows stream all weights each, for few tiles (512 channels at 7 x 7:
        # 641 us on two threads of Zen 5; 333 where they share each product instead).
        split = cpu.threads > 1 and n == 1 and weights > cpu.l2_bytes
        threads, together = (1, cpu.threads) if split else (cpu.threads, 1)
        share = max(1, -(-down // max(1, threads // n)))
        rows = even_rows(down, min(fit, share), threads, n)
        if weights > cpu.l2_bytes:  # weights are streamed once per block
            rows = min(share, max(rows, -(-28 * together // across)))
        nv = min(2, Panels(workload["co"], cpu.lanes).count)
        tiles = rows * across
        mt = balanced(tiles, min(tiles, cpu.tile_pixels(nv, 2 + nv)))[0][0]
        knobs = {"rows": rows, "mt": mt, "nv": nv, "ku": 4, "order": 1}
        return knobs | ({"split": int(split)} if cpu.threads > 1 else {})

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        default, m = self.default(workload, cpu), workload["m"]
        down = -(-workload["h"] // m)
        panels = Panels(workload["co"], cpu.lanes).count
        choices = {
            "rows": [r for r in (1, 2, 3, 4, 7) if r <= down],
            "mt": [4, 6, 7, 8, 10, 12, 14, 28],
            "nv": [v for v in (1, 2, 3, 4) if v <= panels],
            "ku": [2, 4, 8],
            "order": [0, 1],
        } | ({"split": [0, 1]} if cpu.threads > 1 else {})
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        cpu.check_tile(knobs["mt"], knobs["nv"])
        n, h = workload["n"], workload["h"]
        rows = min(h, knobs["rows"] * workload["m"])
        whole, rest = divmod(h, rows)
        blocks = whole + (1 if rest else 0)
        with (
            IRBuilder() as builder,
            prim_func(self, workload, cpu, name) as args,
            parallel(n * blocks, cpu.threads // inner_threads(cpu, knobs)) as task,
        ):
            image, block = task // blocks, task % blocks
            if not rest:
                _block(workload, cpu, knobs, args, image, block * rows, rows)
            else:
                with T.If(block < whole):
                    with T.Then():
                        _block(workload, cpu, knobs, args, image, block * rows, rows)
                    with T.Else():
                        _block(workload, cpu, knobs, args, image, block * rows, rest)
        return builder.get()


def _block(
    workload: Workload, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer], image: Expr,
    first: Expr, rows: int,
) -> None:  # fmt: skip
    """Outputs of ``rows`` rows from row ``first``."""
    m, h, w, ci, co = (workload[k] for k in ("m", "h", "w", "ci", "co"))
    right = winograd.covered(w, m) + 1 - w
    source = Source(args["x"], h, w, workload["icp"], workload["ic0"], ci, 1, right=right)
    need, pitch = winograd.covered(rows, m) + 2, source.width * ci
    pad = T.alloc_buffer((need * pitch,), source.buffer.dtype)
    stage_rows(source, pad, image, first - 1, need, need, cpu.lanes)
    act, res = activations.emitter(workload.text("act"), cpu), workload.text("res")

    def epilogue(y: Expr, x: Expr):  # type: ignore[no-untyped-def]
        base = (image * h + first + y) * w + x
        return lambda value, i, j, channel, width, valid: finish_and_store(
            args, value, (base + i * w + j) * co + channel, width, valid, act, res
        )

    winograd.Winograd(
        m=m, rows=rows, width=w, ci=ci, pad=pad, pitch=pitch, weight=args["weight"],
        bias=args["bias"], panels=Panels(co, cpu.lanes),
        tiling=Tiling(knobs["mt"], knobs["nv"], knobs["ku"], bool(knobs["order"])),
        epilogue=epilogue, by_lane=cpu.by_lane, threads=inner_threads(cpu, knobs),
    ).emit()  # fmt: skip


register(Conv2dWinograd())
