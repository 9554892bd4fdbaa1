"""1x1 -> depthwise k x k -> 1x1, row by row: for hidden tensors larger than the caches.

The hidden tensor between the 1x1s is the largest of the network and is never stored: each thread
walks down its share of output rows with a ring of k hidden rows. For one output row it computes
the ``stride`` hidden rows that are new, sweeps the depthwise window over the ring into a row
buffer, and multiplies that by the second 1x1. Only where two threads meet are k - stride hidden
rows computed twice.
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
from tvm_flow.schedules.cpu.emit.microkernel import parallel
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.vector import Expr, loop
from tvm_flow.schedules.cpu.ops.mbconv.chain import Args, ChainEmitter, MbConv, tall_tiles
from tvm_flow.schedules.operators.mbconv import last_pointwise


class Rows(MbConv):
    """See the module's text."""

    name = "rows"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        p, last = problem, last_pointwise(problem)
        nv = min(2, Panels(p["co"], device.lanes).count)
        heavy_panels, heavy_pixels = device.heavy_tile
        return {
            "chunks": max(1, -(-device.threads // p["n"])),
            "mt1": min(p["w"], heavy_pixels),
            "nv1": min(heavy_panels, Panels(p["hid"], device.lanes).count),
            "mt2": min(last.ow, device.tile_pixels(nv, 3)),
            "nv2": nv,
            "ku": 2,
            "tile": min(last.ow, 7 if device.registers >= 32 else 4),
        }

    def space(self, problem: Problem, device: Cpu) -> Space:
        p, last, default = problem, last_pointwise(problem), self.default(problem, device)
        choices: Space = {
            "chunks": [c for c in (1, 2, 4, 8) if c <= last.oh],
            "mt1": tall_tiles(p["w"]),
            "nv1": [v for v in (1, 2, 3, 4) if v <= Panels(p["hid"], device.lanes).count],
            "mt2": tall_tiles(last.ow),
            "nv2": [v for v in (1, 2, 3, 4) if v <= Panels(p["co"], device.lanes).count],
            "ku": [1, 2, 4],
            "tile": [t for t in (2, 4, 7, 8, 14) if t <= last.ow],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        for i in (1, 2):
            device.check_tile(knobs[f"mt{i}"], knobs[f"nv{i}"])
        device.check_window_tile(knobs["tile"])
        last = last_pointwise(problem)
        rows = -(-last.oh // knobs["chunks"])
        chunks = -(-last.oh // rows)
        with (
            IRBuilder() as builder,
            prim_func(self, problem, device, name) as args,
            parallel(last.n * chunks, device.threads) as task,
        ):
            image, first = task // chunks, (task % chunks) * rows
            stop = tirx.Min(first + rows, last.oh)
            LineBufferEmitter(problem, device, knobs, args, image).emit(first, stop)
        return builder.get()


class LineBufferEmitter:
    """Emits one thread's walk down its output rows."""

    def __init__(self, problem: Problem, cpu: Cpu, knobs: Knobs, args: Args, image: Expr) -> None:
        self.k, self.args, self.image = problem["k"], args, image
        self.chain = ChainEmitter(problem, cpu, knobs, Panels(problem["hid"], cpu.lanes).padded)
        size = self.k * problem["w"] * self.chain.pitch
        self.ring = T.alloc_buffer((size,), args["x"].dtype)
        self.line = T.alloc_buffer((self.chain.last.ow * problem["hid"],), args["x"].dtype)

    def emit(self, first: Expr, stop: Expr) -> None:
        s, k, last = self.chain.window, self.k, self.chain.last
        zero = tirx.IntImm(INT32, 0)
        rows = self.chain.rows(
            self.args, self.ring, self.line,
            in_row=lambda row: tirx.FloorMod(row, k) * s.w,
            out_row=lambda _row: zero,
        )  # fmt: skip
        with loop(first, stop) as row:
            top = row * s.sh - s.ph
            # the first row finds the ring empty; later ones find all but the last ``sh`` rows
            known = (k - s.sh) * tirx.Min(row - first, tirx.IntImm(INT32, 1))
            low = tirx.Max(top + known, zero)
            high = tirx.Min(top + k, tirx.IntImm(INT32, s.h))
            with loop(low, high) as y:
                start, place = (self.image * s.h + y) * s.w, tirx.FloorMod(y, k) * s.w
                self.chain.expand(self.args, s.w, start, self.ring, place)
            rows.emit(row)
            start = (self.image * last.oh + row) * last.ow
            self.chain.project(self.args, self.line, last.ow, start)
