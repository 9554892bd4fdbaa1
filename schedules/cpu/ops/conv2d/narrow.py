"""Grouped convolution whose groups are narrower than a vector.

As many neighbouring groups as fill a vector are computed together, and no product is with zero: of
a vector of their inputs, input ``j`` of every group is repeated over the group's lanes by one
permutation, and multiplied by a vector of weights. What is loaded and permuted once serves all taps
of a tile of pixels, as in depthwise convolution, of which this is the general form: a depthwise
convolution with several outputs per channel has groups of one input.

Weights are stored [panel][kh][kw][j][lane]; the last panel may be of fewer groups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Epilogue
from tvm_flow.schedules.cpu.emit.packing import balanced, power_of_two
from tvm_flow.schedules.cpu.emit.post import pack_post, post_weights
from tvm_flow.schedules.cpu.emit.reduction import Tile
from tvm_flow.schedules.cpu.emit.sliding import where_inside
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    dtype_of,
    load,
    load_valid,
    registers,
    splat,
    store,
)
from tvm_flow.schedules.cpu.emit.window import WindowSweep, sweep_images
from tvm_flow.schedules.cpu.ops.conv2d.emit import make_epilogue
from tvm_flow.schedules.operators.conv2d import CONV2D, Conv2dShape
from tvm_flow.schedules.operators.sliding import WindowShape

#: Most products of a tile for one row of taps, all of which are code of their own.
_PRODUCTS = 512


@dataclass(frozen=True)
class GroupPanel:
    """``groups`` neighbouring groups of ``gi`` inputs and ``go`` outputs."""

    groups: int
    gi: int
    go: int

    @property
    def outputs(self) -> int:
        return self.groups * self.go

    @property
    def width(self) -> int:
        """Lanes of the vector of outputs."""
        return power_of_two(self.outputs)

    @property
    def inputs(self) -> int:
        return self.groups * self.gi

    def spread(self, value: Value, j: int) -> Expr:
        """Input ``j`` of every group of the vector ``value``, repeated over the group's lanes."""
        if self.inputs == 1:
            return splat(value(), self.width)
        last = self.outputs - 1
        lanes = [min(lane, last) // self.go * self.gi + j for lane in range(self.width)]
        loaded = power_of_two(self.inputs)
        if lanes == list(range(loaded)):
            return value()
        # TVM wants as many lanes to choose from as are chosen
        sources = [value() for _ in range(0, self.width, loaded)]
        return tirx.Shuffle(sources, [tirx.IntImm("int32", lane) for lane in lanes])


@dataclass(frozen=True)
class GroupPanels:
    """How the groups of a convolution are cut for vectors of ``lanes``."""

    s: Conv2dShape
    lanes: int

    @property
    def panel(self) -> GroupPanel:
        """Of all but what is left over."""
        return GroupPanel(self.lanes // max(self.s.gi, self.s.go), self.s.gi, self.s.go)

    @property
    def whole(self) -> int:
        return self.s.groups // self.panel.groups

    @property
    def rest(self) -> GroupPanel | None:
        left = self.s.groups % self.panel.groups
        return replace(self.panel, groups=left) if left else None

    @property
    def every(self) -> list[tuple[int, GroupPanel]]:
        """Each panel with its first group."""
        found = [(i * self.panel.groups, self.panel) for i in range(self.whole)]
        return [*found, (self.whole * self.panel.groups, self.rest)] if self.rest else found

    @property
    def padded(self) -> int:
        """Output channels as they are stored."""
        return sum(panel.width for _, panel in self.every)


class Narrow(CpuAlgorithm):
    """See the module's text."""

    operator, name = CONV2D, "narrow"

    def applies(self, problem: Problem, device: Cpu) -> bool:
        if not super().applies(problem, device):
            return False
        s = Conv2dShape.of(problem)
        return s.groups > 1 and max(s.gi, s.go) <= device.lanes

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = Conv2dShape.of(problem)
        padded = GroupPanels(s, device.lanes).padded
        own = packed(problem, weight=s.k * padded, bias=padded)
        return [*own, *post_weights(problem, device, s.co)]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        s, matrices, biases = Conv2dShape.of(problem), [], []
        taps = weights["weight"].transpose(2, 3, 1, 0)  # kh, kw, j, co
        for group, panel in GroupPanels(s, device.lanes).every:
            first, missing = group * s.go, panel.width - panel.outputs
            part = taps[..., first : first + panel.outputs]
            matrices.append(np.pad(part, [*[(0, 0)] * 3, (0, missing)]).reshape(-1))
            bias = weights["bias"][first : first + panel.outputs]
            biases.append(np.pad(bias, (0, missing)))
        own = [np.concatenate(matrices), np.concatenate(biases)]
        return [*own, *pack_post(problem, device, weights)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = Conv2dShape.of(problem)
        most = 14 if device.registers >= 32 and not device.by_lane else 7
        columns = balanced(s.ow, max(1, min(s.ow, most, _PRODUCTS // (s.kw * s.gi))))[0][0]
        return {
            "tile": columns,
            "rows": max(1, min(8, s.n * s.oh // (4 * device.threads))),
        }

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = Conv2dShape.of(problem), self.default(problem, device)
        choices = {
            "tile": [t for t in (1, 2, 3, 4, 5, 6, 7, 8, 10, 14) if t <= s.ow],
            "rows": [r for r in (1, 2, 4, 7, 8, 14, 16, 28, 56) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = Conv2dShape.of(problem)
        device.check_window_tile(knobs["tile"])
        names = WindowShape.__dataclass_fields__.keys() - {"c", "cp", "c0"}
        window = WindowShape(
            **{name: getattr(s, name) for name in names}, c=s.co, cp=s.icp, c0=s.ic0
        )
        act, res = activations.emitter(problem.text("act"), device), problem.text("res")
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:

            def of_image(image: Expr) -> _GroupSweep:
                return _GroupSweep(
                    window, args["x"], knobs["tile"],
                    in_row=lambda row: (image * s.h + row) * s.w,
                    out_row=lambda row: (image * s.oh + row) * s.ow,
                    panels=GroupPanels(s, device.lanes), weight=args["weight"], bias=args["bias"],
                    epilogue=lambda at: make_epilogue(
                        s, args, act, res, lambda i, j: at + i * s.ow + j
                    ),
                )  # fmt: skip

            sweep_images(window, of_image, height=1, rows=knobs["rows"], threads=device.threads)
        return builder.get()


@dataclass(frozen=True)
class _GroupSweep(WindowSweep):
    """``epilogue``: what becomes of the outputs of a tile whose first pixel it is given."""

    panels: GroupPanels
    weight: tirx.Buffer
    bias: tirx.Buffer
    epilogue: Callable[[Expr], Epilogue]

    def _columns(self, tile: Tile, column: Expr, row: Expr, inside: bool) -> None:
        """Whole panels in a loop, then what is left."""
        panels = self.panels
        if panels.whole:
            with T.serial(0, panels.whole) as panel:
                self._tile(tile, column, row, inside, panels.panel, panel)
        if panels.rest:
            self._tile(tile, column, row, inside, panels.rest, panels.whole)

    def _tile(
        self, tile: Tile, column: Expr, row: Expr, inside: bool, panel: GroupPanel, number: Expr
    ) -> None:
        """One tile of pixels of one row, panel ``number``; all rows of taps share their code."""
        s, whole, width = self.shape, self.panels.panel, panel.width
        acc = registers(tile.cols * width, dtype_of(self.bias))
        for i in range(tile.cols):
            store(acc, load(self.bias, number * whole.width, width), i * width, width)
        with T.serial(0, s.kh) as dy, where_inside(s, row * s.sh - s.ph + dy * s.dh):
            line = self._row_start(row, dy * s.dh, column) * s.cp + s.c0 + number * whole.inputs
            row_of_taps = s.kw * panel.gi * width
            weights = number * (self.panels.s.k * whole.width) + dy * row_of_taps
            self._taps(acc, tile, column, inside, panel, T.bind(line), T.bind(weights))
        finish = self.epilogue(self.out_row(row) + column)
        for i in range(tile.cols):
            read = partial(load, acc, i * width, width)
            finish(read, 0, i, number * whole.outputs, width, panel.outputs)

    def _taps(
        self, acc: tirx.Buffer, tile: Tile, column: Expr, inside: bool, panel: GroupPanel,
        line: Expr, weights: Expr,
    ) -> None:  # fmt: skip
        """One row of taps, whose inputs start at ``line``: each vector of inputs is loaded once,
        and input ``j`` of its groups spread once, for all their taps. The weights of one ``j`` are
        used one after the other, so that LLVM loads them once for the row."""
        s, width, lanes = self.shape, panel.width, power_of_two(panel.inputs)
        reads = [
            (bind(load_valid(self.x, line + x * s.cp, lanes, panel.inputs), lanes), taps)
            for x, taps in self._reads(tile, column, 0, inside)
        ]
        for j in range(panel.gi):
            for value, taps in reads:
                spread = bind(panel.spread(value, j), width)
                for pixel, _, dx in taps:
                    weight = load(self.weight, weights + (dx * panel.gi + j) * width, width)
                    total = load(acc, pixel * width, width) + spread() * weight
                    store(acc, total, pixel * width, width)
