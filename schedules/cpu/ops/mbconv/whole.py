"""1x1 -> depthwise k x k -> 1x1 for small pictures: three products of a share.

Where the hidden tensor fits a near cache, what fusing saves is not its way to memory but the two
loops: every loop that threads share costs a few cache lines from core to core, and at its end the
threads wait for the slowest. Each share of output rows is computed as a whole here: its hidden rows
by the first 1x1, the depthwise convolution over them, and the second 1x1, all in scratch that stays
with the core. Between shares k - stride hidden rows are computed twice.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.dtypes import INT32
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import apart, for_flat, parallel
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.vector import Expr
from tvm_flow.schedules.cpu.ops.conv2d.direct import default_tile
from tvm_flow.schedules.cpu.ops.mbconv.chain import Args, ChainEmitter, MbConv, tall_tiles
from tvm_flow.schedules.operators.mbconv import MBCONV, first_pointwise, last_pointwise, window


class Whole(MbConv):
    """See the module's text."""

    name = "whole"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        p, last = problem, last_pointwise(problem)
        one = default_tile(first_pointwise(p), device, p.text("act1"))
        two = default_tile(last, device, p.text("act"))
        weight_bytes = problem.dtype.bytes * p["hid"] * max(p["ci"], p["co"])
        return {
            "chunks": min(last.oh, max(1, -(-device.threads // last.n))),
            "mt1": one["mt"], "nv1": one["nv"],
            "mt2": two["mt"], "nv2": two["nv"],
            "ku": 4,
            "order": int(weight_bytes > device.l2_bytes // 8),
            "tile": min(last.ow, 7 if device.by_lane else 4),
            "th": min(last.oh, 1 if device.by_lane else 4 if device.registers >= 32 else 3),
        }  # fmt: skip

    def space(self, problem: Problem, device: Cpu) -> Space:
        p, last, default = problem, last_pointwise(problem), self.default(problem, device)
        choices: Space = {
            "chunks": [c for c in (1, 2, 4, 7, 8, 14) if c <= last.oh],
            "mt1": tall_tiles(p["h"] * p["w"]),
            "nv1": [v for v in (1, 2, 3, 4) if v <= Panels(p["hid"], device.lanes).count],
            "mt2": tall_tiles(last.oh * last.ow),
            "nv2": [v for v in (1, 2, 3, 4) if v <= Panels(p["co"], device.lanes).count],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "tile": [t for t in (1, 2, 3, 4, 7, 8, 14) if t <= last.ow],
            "th": [t for t in (1, 2, 3, 4, 7) if t <= last.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        for i in (1, 2):
            device.check_tile(knobs[f"mt{i}"], knobs[f"nv{i}"])
        share = ShareEmitter(problem, device, knobs)
        with (
            IRBuilder() as builder,
            prim_func(self, problem, device, name) as args,
            parallel(share.chain.last.n * share.chunks, device.threads) as task,
        ):
            share.emit(args, task // share.chunks, task % share.chunks)
        return builder.get()


def share_rows(problem: Problem, chunks: int) -> tuple[int, int, int]:
    """Output rows of a share, how many shares there are, and the hidden rows of each.

    Shares are equally high, and so are their inputs: where the rows do not divide, the last share
    starts earlier and computes some rows again.
    """
    s = window(problem, problem["hid"])
    rows = -(-s.oh // chunks)
    count = -(-s.oh // rows)
    firsts = [min(i * rows, s.oh - rows) for i in range(count)]
    hidden = [
        min((first + rows - 1) * s.sh - s.ph + s.kh, s.h) - max(first * s.sh - s.ph, 0)
        for first in firsts
    ]
    return rows, count, max(hidden)


def share_macs(problem: Problem, threads: int) -> tuple[float, float]:
    """Multiply-accumulates of the busiest of ``threads``, and what each would have without rows
    that are computed twice and with equal shares."""
    p, last = problem, last_pointwise(problem)
    rows, count, hidden = share_rows(p, min(last.oh, max(1, -(-threads // last.n))))
    share = hidden * p["w"] * p["ci"] * p["hid"]
    share += rows * last.ow * p["hid"] * (p["k"] ** 2 + p["co"])
    return share * -(-last.n * count // threads), MBCONV.macs(p) / threads


class ShareEmitter:
    """Emits one share: ``rows`` output rows of an image, from ``hidden`` rows of the input."""

    def __init__(self, problem: Problem, cpu: Cpu, knobs: Knobs) -> None:
        pitch = apart(Panels(problem["hid"], cpu.lanes).padded, cpu.lanes)
        self.chain = ChainEmitter(problem, cpu, knobs, pitch)
        self.rows, self.chunks, self.hidden = share_rows(problem, knobs["chunks"])
        self.height = min(knobs["th"], self.rows)
        cpu.check_window_tile(Tile(self.height, min(knobs["tile"], self.chain.last.ow)).pixels)

    def emit(self, args: Args, image: Expr, chunk: Expr) -> None:
        chain, s, last = self.chain, self.chain.window, self.chain.last
        hidden = T.alloc_buffer((self.hidden * s.w * chain.pitch,), args["x"].dtype)
        swept = T.alloc_buffer((self.rows * last.ow * s.c,), args["x"].dtype)
        first = T.bind(tirx.Min(chunk * self.rows, tirx.IntImm(INT32, last.oh - self.rows)))
        top = tirx.Max(first * s.sh - s.ph, tirx.IntImm(INT32, 0))
        top = T.bind(tirx.Min(top, tirx.IntImm(INT32, s.h - self.hidden)))
        chain.expand(args, self.hidden * s.w, (image * s.h + top) * s.w, hidden)
        rows = chain.rows(
            args, hidden, swept,
            in_row=lambda row: (row - top) * s.w,
            out_row=lambda row: (row - first) * last.ow,
        )  # fmt: skip
        tiles = -(-self.rows // self.height)
        for_flat(
            (0, tiles), self.rows, self.height, lambda size, row, _: rows.emit(first + row, size)
        )
        start = (image * last.oh + first) * last.ow
        chain.project(args, swept, self.rows * last.ow, start)
