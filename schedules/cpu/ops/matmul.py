"""Products of two activations: the second operand is packed into panels, as weights are when a
network is compiled, and the product is that of a 1x1 convolution.

Packing reads every element once and the product ``m`` times. A thread packs what it multiplies
with, so that the panels are in its cache; where there are fewer products than threads, they share
the packing and then the rows of the result.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import WeightlessAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    parallel,
    product,
    tile_count,
)
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.squares import transposed
from tvm_flow.schedules.cpu.emit.staging import copy_run
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    constant,
    dtype_of,
    load,
    pieces,
    store,
    store_valid,
)
from tvm_flow.schedules.operators.matmul import MATMUL

#: Rows of the result below which a thread does not take a product's rows for itself.
_ROW_BLOCK = 4


class Matmul(WeightlessAlgorithm):
    """See the module's text."""

    operator, name = MATMUL, "packed"

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        panels = Panels(problem["n"], device.lanes).count
        nv = min(2, panels)
        most = min(device.tile_pixels(nv, 3), device.resident_pixels(problem["k"]), problem["m"])
        mt = -(-problem["m"] // -(-problem["m"] // most))
        return {"mt": mt, "nv": nv, "ku": 4, "order": 1, "mb": _ROW_BLOCK}

    def space(self, problem: Problem, device: Cpu) -> Space:
        default, m = self.default(problem, device), problem["m"]
        panels = Panels(problem["n"], device.lanes).count
        choices: Space = {
            "mt": [size for size in (1, 2, 3, 4, 6, 7, 8, 10, 12, 14, 28) if size <= m],
            "nv": [count for count in (1, 2, 3, 4, 6) if count <= panels],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "mb": [1, 2, 4, 8, 16],
        }
        return {name: sorted({*values, default[name]}) for name, values in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        device.check_tile(knobs["mt"], knobs["nv"])
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            _Emitter(problem, device, knobs, args).emit()
        return builder.get()


class _Emitter:
    """Emits the whole operator."""

    def __init__(
        self, problem: Problem, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer]
    ) -> None:
        self.b, self.m, self.n, self.k = (problem[name] for name in ("b", "m", "n", "k"))
        self.ta, self.tb, self.one = problem["ta"], problem["tb"], problem.text("one")
        self.cpu, self.knobs, self.args = cpu, knobs, args
        self.panels = Panels(self.n, cpu.lanes)
        self.tiles = tile_count(self.m, min(knobs["mt"], self.m))

    def emit(self) -> None:
        if self.one == "w":
            scratch = self._scratch()
            self._pack(scratch, tirx.IntImm("int32", 0), self.cpu.threads)
            with parallel(self.b, self.cpu.threads) as number:
                self._product(scratch, number, None)
        elif self.cpu.threads == 1 or self.b >= 2 * self.cpu.threads:
            with parallel(self.b, self.cpu.threads) as number:
                scratch = self._scratch()
                self._pack(scratch, number, 1)
                self._product(scratch, number, None)
        else:
            with T.serial(0, self.b) as number:
                scratch = self._scratch()
                self._pack(scratch, number, self.cpu.threads)
                size = self.knobs["mb"]
                with parallel(-(-self.tiles // size), self.cpu.threads) as block:
                    end = tirx.Min(block * size + size, self.tiles)
                    self._product(scratch, number, (block * size, end))

    def _scratch(self) -> tirx.Buffer:
        return T.alloc_buffer((self.k * self.panels.padded,), self.args["w"].dtype)

    def _product(self, scratch: tirx.Buffer, number: Expr, tiles: tuple[Expr, Expr] | None) -> None:
        """Product ``number``, or some tiles of its rows."""
        knobs, x = self.knobs, self.args["x"]
        weights = Weights(scratch, None, self.panels, self.k, by_lane=self.cpu.by_lane)
        base = 0 if self.one == "x" else number * (self.m * self.k)

        def segments(first: Expr) -> list[Segment]:
            if self.ta:  # neighbours along the reduction are a row apart
                return [Segment(x, base + first, 0, 1, 1, repeats=((self.k, self.m),))]
            return [Segment(x, base + first * self.k, 0, self.k, self.k)]

        product(
            self.m, Tiling(knobs["mt"], knobs["nv"], knobs["ku"], bool(knobs["order"])), weights,
            segments, lambda first: self._epilogue(number * self.m + first),
            tiles=tiles, slices=self.tiles if tiles is None else knobs["mb"],
        )  # fmt: skip

    def _epilogue(self, row: Expr) -> Epilogue:
        def epilogue(
            value: Value, _i: Expr, j: Expr, channel: Expr, width: int, valid: int
        ) -> None:
            store_valid(self.args["y"], value, (row + j) * self.n + channel, width, valid)

        return epilogue

    def _pack(self, scratch: tirx.Buffer, number: Expr, threads: int) -> None:
        """The second operand of product ``number`` as panels."""
        base = 0 if self.one == "w" else number * (self.k * self.n)
        panel = self._turned_panel if self.tb else self._plain_panel
        with parallel(self.panels.full, threads) as full:
            panel(scratch, base, full * self.cpu.lanes, self.cpu.lanes, self.cpu.lanes)
        if self.panels.tail:
            last = self.panels.full * self.cpu.lanes
            panel(scratch, base, last, self.panels.tail, self.n - last)

    def _plain_panel(
        self, scratch: tirx.Buffer, base: Expr, first: Expr, width: int, valid: int
    ) -> None:
        """``width`` columns from ``first`` on, of which ``valid`` exist, from rows of columns."""
        with T.serial(0, self.k) as row:
            at = first * self.k + row * width
            if valid < width:
                store(scratch, constant(0, width, dtype_of(scratch)), at, width)
            copy_run(scratch, at, self.args["w"], base + row * self.n + first, valid, width)

    def _turned_panel(
        self, scratch: tirx.Buffer, base: Expr, first: Expr, width: int, valid: int
    ) -> None:
        """The same from columns stored as rows: in squares, smaller ones at the edges."""
        if valid < width:
            with T.serial(0, self.k) as row:
                zero = constant(0, width, dtype_of(scratch))
                store(scratch, zero, first * self.k + row * width, width)
        for offset, side in pieces(valid, width):
            start = base + (first + offset) * self.k
            to = first * self.k + offset
            with T.serial(0, self.k // side) as square:
                self._square(scratch, to + square * (side * width), width, start + square * side,
                             side)  # fmt: skip
            done = self.k // side * side
            for rest, smaller in pieces(self.k - done, side):
                for part in range(0, side, smaller):
                    self._square(
                        scratch, to + part + (done + rest) * width, width,
                        start + part * self.k + done + rest, smaller,
                    )  # fmt: skip

    def _square(self, scratch: tirx.Buffer, to: Expr, pitch: int, start: Expr, side: int) -> None:
        rows = [bind(load(self.args["w"], start + i * self.k, side), side) for i in range(side)]
        for i, value in enumerate(transposed(rows)):
            store(scratch, value(), to + i * pitch, side)
