"""1x1 -> depthwise k x k -> 1x1 as one operator: inverted residuals and ShuffleNet branches.

The hidden tensor between the 1x1s is the largest of the network and is never stored: each thread
walks down its share of output rows with a ring of k hidden rows. For one output row it computes
the ``stride`` hidden rows that are new, sweeps the depthwise window over the ring into a row
buffer, and multiplies that by the second 1x1. Only where two threads meet are k - stride hidden
rows computed twice.

``mbconv`` workload parameters
  n, h, w, ci, hid, co; k, st    kernel (padding k//2) and stride of the depthwise convolution
  icp, ic0                       channels of the input tensor and first one read
  act1, act2, act                activations after the three convolutions
  res, mix, bcp, bc0             of the last 1x1, as in ``conv2d``
Weights: ``w1`` [hid, ci], ``b1``; ``dw`` [hid, k, k], ``dwb``; ``w2`` [co, hid], ``b2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    parallel,
    product,
)
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.vector import Expr, loop, store
from tvm_flow.schedules.cpu.emit.window import RowSweep, WindowShape
from tvm_flow.schedules.cpu.ops.conv2d import direct as conv2d
from tvm_flow.schedules.cpu.ops.conv2d import emit as conv2d_emit
from tvm_flow.schedules.cpu.ops.depthwise import nhwc as depthwise
from tvm_flow.schedules.cpu.reference import conv2d_nhwc, depthwise_nhwc
from tvm_flow.schedules.registry import register

Args = Mapping[str, tirx.Buffer]


def tall_tiles(pixels: int) -> list[int]:
    """Heights of register tiles worth trying for a product of so many pixels."""
    return [m for m in (2, 3, 4, 6, 7, 8, 10, 12, 14, 28) if m <= pixels]


def window(w: Workload, pitch: int) -> WindowShape:
    """The depthwise convolution over hidden rows of ``pitch`` elements per pixel."""
    k, st = w["k"], w["st"]
    return WindowShape(
        n=w["n"], h=w["h"], w=w["w"], c=w["hid"], cp=pitch, c0=0, kh=k, kw=k, sh=st, sw=st,
        ph=k // 2, pw=k // 2,
    )  # fmt: skip


def last_pointwise(w: Workload) -> conv2d_emit.Shape:
    """The second 1x1 as a ``conv2d`` shape, for its epilogue."""
    s = window(w, w["hid"])
    last = conv2d.workload(
        n=w["n"], h=s.oh, w=s.ow, ci=w["hid"], co=w["co"], mix=w["mix"], bcp=w["bcp"], bc0=w["bc0"]
    )
    return conv2d_emit.Shape.of(last)


class MbConv(Family):
    """See the module's text."""

    op = "mbconv"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        w, last = workload, last_pointwise(workload)
        hidden, out = Panels(w["hid"], cpu.lanes), Panels(w["co"], cpu.lanes)
        specs = [TensorSpec("x", (w["n"], w["h"], w["w"], w["icp"]), "input")]
        grid = (w["n"], last.oh, last.ow)
        if w.text("res") != "none":
            specs.append(TensorSpec("residual", (*grid, w["co"]), "input"))
        if w["mix"]:
            specs.append(TensorSpec("bypass", (*grid, w["bcp"]), "input"))
        return [
            *specs,
            TensorSpec("w1", (w["ci"] * hidden.padded,), "weight"),
            TensorSpec("b1", (hidden.padded,), "weight"),
            TensorSpec("dw", (w["k"] ** 2 * w["hid"],), "weight"),
            TensorSpec("dwb", (w["hid"],), "weight"),
            TensorSpec("w2", (w["hid"] * out.padded,), "weight"),
            TensorSpec("b2", (out.padded,), "weight"),
            TensorSpec("y", (*grid, w["co"] * (2 if w["mix"] else 1)), "output"),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        hid, co, k = workload["hid"], workload["co"], workload["k"]
        return {
            "w1": (hid, workload["ci"]), "b1": (hid,), "dw": (hid, k, k), "dwb": (hid,),
            "w2": (co, hid), "b2": (co,),
        }  # fmt: skip

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [
            pack_matrix(weights["w1"].T, cpu.lanes),
            pack_vector(weights["b1"], cpu.lanes),
            depthwise.pack_taps(weights["dw"]),
            weights["dwb"],
            pack_matrix(weights["w2"].T, cpu.lanes),
            pack_vector(weights["b2"], cpu.lanes),
        ]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        w, rest = workload, list(inputs)
        x = rest.pop(0)[..., w["ic0"] : w["ic0"] + w["ci"]]
        y = conv2d_nhwc(x, weights["w1"][:, :, None, None], weights["b1"], (1, 1), (0, 0))
        y = activations.reference(w.text("act1"), y)
        stride, pad = (w["st"],) * 2, (w["k"] // 2,) * 2
        y = depthwise_nhwc(y, weights["dw"], weights["dwb"], stride, pad)
        y = activations.reference(w.text("act2"), y)
        y = conv2d_nhwc(y, weights["w2"][:, :, None, None], weights["b2"], (1, 1), (0, 0))
        y = y + rest.pop(0) if w.text("res") == "pre" else y
        y = activations.reference(w.text("act"), y)
        y = y + rest.pop(0) if w.text("res") == "post" else y
        if w["mix"]:
            both = np.stack([rest.pop(0)[..., w["bc0"] : w["bc0"] + w["co"]], y], axis=-1)
            y = both.reshape(*y.shape[:3], 2 * w["co"])
        return [np.ascontiguousarray(y)]

    def macs(self, workload: Workload) -> int:
        w, last = workload, last_pointwise(workload)
        inner = last.oh * last.ow * w["hid"] * (w["k"] ** 2 + w["co"])
        return w["n"] * (w["h"] * w["w"] * w["ci"] * w["hid"] + inner)

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        w, last = workload, last_pointwise(workload)
        nv = min(2, Panels(w["co"], cpu.lanes).count)
        heavy_panels, heavy_pixels = cpu.heavy_tile
        return {
            "chunks": max(1, -(-cpu.threads // w["n"])),
            "mt1": min(w["w"], heavy_pixels),
            "nv1": min(heavy_panels, Panels(w["hid"], cpu.lanes).count),
            "mt2": min(last.ow, cpu.tile_pixels(nv, 3)),
            "nv2": nv,
            "ku": 2,
            "tile": min(last.ow, 7 if cpu.registers >= 32 else 4),
        }

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        w, last, default = workload, last_pointwise(workload), self.default(workload, cpu)
        choices: Space = {
            "chunks": [c for c in (1, 2, 4, 8) if c <= last.oh],
            "mt1": tall_tiles(w["w"]),
            "nv1": [v for v in (1, 2, 3, 4) if v <= Panels(w["hid"], cpu.lanes).count],
            "mt2": tall_tiles(last.ow),
            "nv2": [v for v in (1, 2, 3, 4) if v <= Panels(w["co"], cpu.lanes).count],
            "ku": [1, 2, 4],
            "tile": [t for t in (2, 4, 7, 8, 14) if t <= last.ow],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        for i in (1, 2):
            cpu.check_tile(knobs[f"mt{i}"], knobs[f"nv{i}"])
        cpu.check_window_tile(knobs["tile"])
        last = last_pointwise(workload)
        rows = -(-last.oh // knobs["chunks"])
        chunks = -(-last.oh // rows)
        with (
            IRBuilder() as builder,
            prim_func(self, workload, cpu, name) as args,
            parallel(last.n * chunks, cpu.threads) as task,
        ):
            image, first = task // chunks, (task % chunks) * rows
            stop = tirx.Min(first + rows, last.oh)
            _Walk(workload, cpu, knobs, args, image).emit(first, stop)
        return builder.get()


class _Walk:
    """Emits one thread's walk down its output rows."""

    def __init__(self, w: Workload, cpu: Cpu, knobs: Knobs, args: Args, image: Expr) -> None:
        self.w, self.cpu, self.knobs, self.args, self.image = w, cpu, knobs, args, image
        self.pitch = Panels(w["hid"], cpu.lanes).padded
        self.window, self.last = window(w, self.pitch), last_pointwise(w)
        self.ring = T.alloc_buffer((w["k"] * w["w"] * self.pitch,), args["x"].dtype)
        self.line = T.alloc_buffer((self.last.ow * w["hid"],), args["x"].dtype)

    def emit(self, first: Expr, stop: Expr) -> None:
        s, args, k = self.window, self.args, self.w["k"]
        rows = RowSweep(
            s, self.ring, self.line,
            depthwise.accumulation(s, args["dw"], args["dwb"], self._act("act2")),
            self.knobs["tile"], self.cpu.lanes,
            in_row=lambda row: tirx.FloorMod(row, k) * s.w,
            out_row=lambda _row: tirx.IntImm("int32", 0),
        )  # fmt: skip
        with loop(first, stop) as row:
            top = row * s.sh - s.ph
            # the first row finds the ring empty; later ones find all but the last ``sh`` rows
            known = (k - s.sh) * tirx.Min(row - first, tirx.IntImm("int32", 1))
            low = tirx.Max(top + known, tirx.IntImm("int32", 0))
            high = tirx.Min(top + k, tirx.IntImm("int32", s.h))
            with loop(low, high) as y:
                self._hidden_row(y)
            rows.emit(row)
            self._project(row)

    def _hidden_row(self, y: Expr) -> None:
        """First 1x1 and activation of input row ``y`` into its place in the ring."""
        w, s = self.w, self.window
        start = (self.image * s.h + y) * s.w
        place = tirx.FloorMod(y, w["k"]) * s.w
        act = self._act("act1")

        def to_ring(p: Expr) -> Epilogue:
            def epilogue(value, _i, j, channel, width, _valid):  # type: ignore[no-untyped-def]
                store(self.ring, act(value, width), (place + p + j) * self.pitch + channel, width)

            return epilogue

        product(
            s.w,
            self._tiling(1),
            self._weights("w1", "b1", w["hid"], w["ci"]),
            lambda p: [
                Segment(self.args["x"], (start + p) * w["icp"] + w["ic0"], 0, w["icp"], w["ci"])
            ],
            to_ring,
        )

    def _project(self, row: Expr) -> None:
        """Second 1x1 of one row, with its epilogue."""
        w, last = self.w, self.last
        start = (self.image * last.oh + row) * last.ow
        product(
            last.ow,
            self._tiling(2),
            self._weights("w2", "b2", w["co"], w["hid"]),
            lambda p: [Segment(self.line, p * w["hid"], 0, w["hid"], w["hid"])],
            lambda p: conv2d_emit.make_epilogue(
                last, self.args, self._act("act"), w.text("res"), lambda _i, j: start + p + j
            ),
        )

    def _act(self, name: str) -> activations.Activation:
        return activations.emitter(self.w.text(name), self.cpu)

    def _tiling(self, index: int) -> Tiling:
        return Tiling(self.knobs[f"mt{index}"], self.knobs[f"nv{index}"], self.knobs["ku"], True)

    def _weights(self, weight: str, bias: str, n: int, k: int) -> Weights:
        panels = Panels(n, self.cpu.lanes)
        return Weights(self.args[weight], self.args[bias], panels, k, by_lane=self.cpu.by_lane)


register(MbConv())
