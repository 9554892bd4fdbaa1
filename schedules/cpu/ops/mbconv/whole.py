"""1x1 -> depthwise k x k -> 1x1 as one operator for small pictures: three products of a share.

Where the hidden tensor fits a near cache, what fusing saves is not its way to memory but the two
loops: every loop that threads share costs a few cache lines from core to core, and at its end the
threads wait for the slowest. Each share of output rows is computed as a whole here: its hidden rows
by the first 1x1, the depthwise convolution over them, and the second 1x1, all in scratch that stays
with the core. Between shares k - stride hidden rows are computed twice.

Workload parameters, weights and result are those of ``mbconv`` (``rows.py`` beside this file),
which walks row by row and is for hidden tensors that are larger than the caches.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Cpu, Knobs, Space, Workload
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    apart,
    for_flat,
    parallel,
    product,
)
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import Expr, store
from tvm_flow.schedules.cpu.emit.window import RowSweep
from tvm_flow.schedules.cpu.ops.conv2d import direct as conv2d
from tvm_flow.schedules.cpu.ops.conv2d import emit as conv2d_emit
from tvm_flow.schedules.cpu.ops.depthwise import nhwc as depthwise
from tvm_flow.schedules.cpu.ops.mbconv.rows import MbConv, last_pointwise, tall_tiles, window
from tvm_flow.schedules.registry import lookup, register

Args = Mapping[str, tirx.Buffer]


class MbConvWhole(MbConv):
    """See the module's text."""

    op = "mbconv_whole"

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        w, last = workload, last_pointwise(workload)
        first, second = _shapes(workload)
        one = conv2d.default_tile(first, cpu, workload.text("act1"))
        two = conv2d.default_tile(second, cpu, workload.text("act"))
        return {
            "chunks": min(last.oh, max(1, -(-cpu.threads // last.n))),
            "mt1": one["mt"], "nv1": one["nv"],
            "mt2": two["mt"], "nv2": two["nv"],
            "ku": 4,
            "order": int(8 * w.dtype.bytes * w["hid"] * max(w["ci"], w["co"]) > cpu.l2_bytes),
            "tile": min(last.ow, 7 if cpu.by_lane else 4),
            "th": min(last.oh, 1 if cpu.by_lane else 4 if cpu.registers >= 32 else 3),
        }  # fmt: skip

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        w, last, default = workload, last_pointwise(workload), self.default(workload, cpu)
        choices: Space = {
            "chunks": [c for c in (1, 2, 4, 7, 8, 14) if c <= last.oh],
            "mt1": tall_tiles(w["h"] * w["w"]),
            "nv1": [v for v in (1, 2, 3, 4) if v <= Panels(w["hid"], cpu.lanes).count],
            "mt2": tall_tiles(last.oh * last.ow),
            "nv2": [v for v in (1, 2, 3, 4) if v <= Panels(w["co"], cpu.lanes).count],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "tile": [t for t in (1, 2, 3, 4, 7, 8, 14) if t <= last.ow],
            "th": [t for t in (1, 2, 3, 4, 7) if t <= last.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        for i in (1, 2):
            cpu.check_tile(knobs[f"mt{i}"], knobs[f"nv{i}"])
        share = _Share(workload, cpu, knobs)
        with (
            IRBuilder() as builder,
            prim_func(self, workload, cpu, name) as args,
            parallel(share.last.n * share.chunks, cpu.threads) as task,
        ):
            share.emit(args, task // share.chunks, task % share.chunks)
        return builder.get()


def _shapes(w: Workload) -> tuple[conv2d_emit.Shape, conv2d_emit.Shape]:
    """Both 1x1s as ``conv2d`` shapes."""
    first = conv2d.workload(n=w["n"], h=w["h"], w=w["w"], ci=w["ci"], co=w["hid"])
    return conv2d_emit.Shape.of(first), last_pointwise(w)


def share_rows(w: Workload, chunks: int) -> tuple[int, int, int]:
    """Output rows of a share, how many shares there are, and the hidden rows of each.

    Shares are equally high, and so are their inputs: where the rows do not divide, the last share
    starts earlier and computes some rows again.
    """
    s = window(w, w["hid"])
    rows = -(-s.oh // chunks)
    count = -(-s.oh // rows)
    firsts = [min(i * rows, s.oh - rows) for i in range(count)]
    hidden = [
        min((first + rows - 1) * s.sh - s.ph + s.kh, s.h) - max(first * s.sh - s.ph, 0)
        for first in firsts
    ]
    return rows, count, max(hidden)


def share_macs(w: Workload, threads: int) -> tuple[float, float]:
    """Multiply-accumulates of the busiest of ``threads``, and what each would have without rows
    that are computed twice and with equal shares."""
    last = last_pointwise(w)
    rows, count, hidden = share_rows(w, min(last.oh, max(1, -(-threads // last.n))))
    share = hidden * w["w"] * w["ci"] * w["hid"]
    share += rows * last.ow * w["hid"] * (w["k"] ** 2 + w["co"])
    return share * -(-last.n * count // threads), lookup(w.op).macs(w) / threads


class _Share:
    """Emits one share: ``rows`` output rows of an image, from ``hidden`` rows of the input."""

    def __init__(self, w: Workload, cpu: Cpu, knobs: Knobs) -> None:
        self.w, self.cpu, self.knobs = w, cpu, knobs
        self.pitch = apart(Panels(w["hid"], cpu.lanes).padded, cpu.lanes)
        self.window, self.last = window(w, self.pitch), last_pointwise(w)
        last = self.last
        self.rows, self.chunks, self.hidden = share_rows(w, knobs["chunks"])
        self.height = min(knobs["th"], self.rows)
        cpu.check_window_tile(Tile(self.height, min(knobs["tile"], last.ow)).pixels)

    def emit(self, args: Args, image: Expr, chunk: Expr) -> None:
        w, s, last = self.w, self.window, self.last
        hidden = T.alloc_buffer((self.hidden * s.w * self.pitch,), args["x"].dtype)
        swept = T.alloc_buffer((self.rows * last.ow * w["hid"],), args["x"].dtype)
        first = T.bind(tirx.Min(chunk * self.rows, tirx.IntImm("int32", last.oh - self.rows)))
        top = tirx.Max(first * s.sh - s.ph, tirx.IntImm("int32", 0))
        top = T.bind(tirx.Min(top, tirx.IntImm("int32", s.h - self.hidden)))
        self._expand(args, hidden, (image * s.h + top) * s.w)
        rows = RowSweep(
            s, hidden, swept,
            depthwise.accumulation(s, args["dw"], args["dwb"], self._act("act2")),
            self.knobs["tile"], self.cpu.lanes,
            in_row=lambda row: (row - top) * s.w,
            out_row=lambda row: (row - first) * last.ow,
        )  # fmt: skip
        tiles = -(-self.rows // self.height)
        for_flat(
            (0, tiles), self.rows, self.height, lambda size, row, _: rows.emit(first + row, size)
        )
        self._project(args, swept, (image * last.oh + first) * last.ow)

    def _expand(self, args: Args, hidden: tirx.Buffer, start: Expr) -> None:
        """First 1x1 and activation of all hidden rows of the share."""
        w, act = self.w, self._act("act1")

        def epilogue(p: Expr) -> Epilogue:
            def emit(value, _i, j, channel, width, _valid):  # type: ignore[no-untyped-def]
                store(hidden, act(value, width), (p + j) * self.pitch + channel, width)

            return emit

        product(
            self.hidden * self.window.w,
            self._tiling(1),
            self._weights(args, 1, w["hid"], w["ci"]),
            lambda p: [Segment(args["x"], (start + p) * w["icp"] + w["ic0"], 0, w["icp"], w["ci"])],
            epilogue,
        )

    def _project(self, args: Args, swept: tirx.Buffer, start: Expr) -> None:
        """Second 1x1 of the share, with its epilogue."""
        w = self.w
        product(
            self.rows * self.last.ow,
            self._tiling(2),
            self._weights(args, 2, w["co"], w["hid"]),
            lambda p: [Segment(swept, p * w["hid"], 0, w["hid"], w["hid"])],
            lambda p: conv2d_emit.make_epilogue(
                self.last, args, self._act("act"), w.text("res"), lambda _i, j: start + p + j
            ),
        )

    def _act(self, name: str) -> activations.Activation:
        return activations.emitter(self.w.text(name), self.cpu)

    def _tiling(self, index: int) -> Tiling:
        knobs = self.knobs
        return Tiling(knobs[f"mt{index}"], knobs[f"nv{index}"], knobs["ku"], bool(knobs["order"]))

    def _weights(self, args: Args, index: int, n: int, k: int) -> Weights:
        panels = Panels(n, self.cpu.lanes)
        return Weights(args[f"w{index}"], args[f"b{index}"], panels, k, by_lane=self.cpu.by_lane)


register(MbConvWhole())
