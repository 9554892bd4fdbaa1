"""Transposed convolution as the ordinary convolutions of its phases, straight into their places.

A block of input rows is staged once, with zero borders where the windows reach beyond the input,
and multiplied by the weights of all phases of rows and of columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

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
from tvm_flow.schedules.cpu.emit.activations import Activation
from tvm_flow.schedules.cpu.emit.channelwise import Taps, block
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Weights,
    parallel,
)
from tvm_flow.schedules.cpu.emit.packing import Panels, even_rows, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.staging import Source, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr, Value
from tvm_flow.schedules.cpu.ops.conv2d.emit import finish_and_store
from tvm_flow.schedules.cpu.ops.conv_transpose.phases import (
    ColumnGroup,
    Phase,
    column_groups,
    row_phases,
)
from tvm_flow.schedules.operators.conv_transpose import CONV_TRANSPOSE, TransposedShape


@dataclass(frozen=True)
class _Part:
    """One phase of rows with one group of columns; ``base``: where its packed weights begin."""

    rows: Phase
    columns: ColumnGroup
    base: int

    def k(self, ci: int) -> int:
        """Length of the reduction."""
        return len(self.rows.taps) * self.columns.width * ci


def _parts(s: TransposedShape, lanes: int) -> Iterator[_Part]:
    base = 0
    groups = column_groups(s, lanes)
    padded = s.co if s.channelwise else _panels(s, lanes).padded
    for rows in row_phases(s):
        for columns in groups:
            part = _Part(rows, columns, base)
            base += part.k(s.gi) * padded
            yield part


class Direct(CpuAlgorithm):
    """See the module's text."""

    operator, name = CONV_TRANSPOSE, "direct"

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = TransposedShape.of(problem)
        padded = s.co if s.channelwise else s.groups * _panels(s, device.lanes).padded
        return packed(problem, weight=_rows(s, device.lanes) * padded, bias=padded)

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        s, lanes = TransposedShape.of(problem), device.lanes
        if s.channelwise:
            taps = [part.columns.taps(weights["weight"], part.rows) for part in _parts(s, lanes)]
            return [np.concatenate(taps).reshape(-1), weights["bias"]]
        matrices = [
            pack_matrix(part.columns.matrix(weight, part.rows), lanes)
            for weight in np.split(weights["weight"], s.groups)
            for part in _parts(s, lanes)
            if part.k(s.gi)
        ]
        repeats = len(column_groups(s, lanes)[0].phases)
        biases = [
            pack_vector(np.tile(bias, repeats), lanes)
            for bias in np.split(weights["bias"], s.groups)
        ]
        return [np.concatenate(matrices), np.concatenate(biases)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = TransposedShape.of(problem)
        panels, columns = _panels(s, device.lanes), -(-s.ow // s.sw)
        nv = min(2, panels.count)
        most = device.tile_pixels(nv, 8 if panels.tail and device.registers >= 32 else 3)
        if s.channelwise:
            nv, most = 1, device.registers // 2
        mt = min(columns, most)
        mt = -(-columns // -(-columns // mt))
        rows = -(-s.oh // s.sh)
        th = max(1, min(rows, most // mt, 2)) if columns == mt else 1
        streamed = problem.dtype.bytes * s.gi * s.go * s.kh * s.kw > device.l2_bytes
        most = 14 if streamed else min(28, rows // (4 * device.threads))
        block = max(th, even_rows(rows, max(1, most), 1 if streamed else device.threads, s.n))
        return {"nv": nv, "mt": mt, "ku": 4, "order": 1, "th": th, "rb": block}

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = TransposedShape.of(problem), self.default(problem, device)
        columns, rows = -(-s.ow // s.sw), -(-s.oh // s.sh)
        choices: Space = {
            "nv": [v for v in (1, 2, 3, 4, 6) if v <= _panels(s, device.lanes).count],
            "mt": [m for m in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 28) if m <= columns],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "th": [t for t in (1, 2, 3) if t <= rows],
            "rb": [r for r in (1, 2, 4, 7, 8, 14, 16, 28) if r <= rows],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = TransposedShape.of(problem)
        device.check_tile(knobs["mt"] * knobs["th"], knobs["nv"])
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            act = activations.emitter(problem.text("act"), device)
            _Emitter(s, device, knobs, args, act, problem.text("res")).emit()
        return builder.get()


def _panels(s: TransposedShape, lanes: int) -> Panels:
    return Panels(s.go * len(column_groups(s, lanes)[0].phases), lanes)


def _rows(s: TransposedShape, lanes: int) -> int:
    """Rows of packed weights of one group."""
    return sum(part.k(s.gi) for part in _parts(s, lanes))


@dataclass(frozen=True)
class _Window:
    """The A operand: element 0 of the input at row and column 0 of a block is at ``base``."""

    buffer: tirx.Buffer
    base: Expr
    row_pitch: int
    col_pitch: int


class _Emitter:
    """Emits the kernel: parallel over groups, images and blocks of input rows."""

    def __init__(
        self, s: TransposedShape, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer],
        act: Activation, res: str,
    ) -> None:  # fmt: skip
        self.cpu, self.knobs, self.args, self.act, self.res = cpu, knobs, args, act, res
        self.parts = list(_parts(s, cpu.lanes))
        #: channels that have nothing to do with each other are one group, vectors along them
        self.channelwise, s = s.channelwise, replace(s, groups=1) if s.channelwise else s
        self.s = s
        reached = [part for part in self.parts if part.k(s.gi)]
        self.top = min(part.rows.offset for part in reached)
        self.bottom = max(part.rows.last for part in reached)
        lowest = max(part.rows.count - 1 + part.rows.last for part in reached)
        self.left = min(part.columns.offset for part in reached)
        right = max(
            part.columns.count - 1 + part.columns.offset
            + part.columns.step * (part.columns.width - 1)
            for part in reached
        )  # fmt: skip
        self.after = max(0, right - (s.w - 1))
        self.bordered = self.top < 0 or lowest >= s.h or self.left < 0 or self.after > 0
        self.rows = max(part.rows.count for part in self.parts)

    def emit(self) -> None:
        s, rows = self.s, self.knobs["rb"]
        blocks = -(-self.rows // rows)
        shares = s.n * blocks
        with parallel(s.groups * shares, self.cpu.threads) as task:
            group = task // shares if s.groups > 1 else 0
            image, first = task % shares // blocks, (task % blocks) * rows
            window = self._window(group, image, first, rows)
            for part in self.parts:
                even = part.rows.count % rows == 0 and part.rows.count == self.rows
                count = rows if even else tirx.Min(part.rows.count - first, rows)
                self._part(part, group, window, image, first, count)

    def _window(self, group: Expr, image: Expr, first: Expr, count: int) -> _Window:
        """Input rows of a block: where they are, or staged with zero borders."""
        s = self.s
        channel = group * s.gi + s.ic0
        if not self.bordered:
            base = (image * s.h + first) * (s.w * s.icp) + channel
            return _Window(self.args["x"], base, s.w * s.icp, s.icp)
        need = count + self.bottom - self.top
        before = max(0, -self.left)
        source = Source(
            self.args["x"], s.h, s.w, s.icp, channel, s.gi, before, right=self.after
        )  # fmt: skip
        pitch = source.width * s.gi
        pad = T.alloc_buffer((need * pitch,), self.args["x"].dtype)
        stage_rows(source, pad, image, first + self.top, need, need, self.cpu.lanes)
        return _Window(pad, before * s.gi - self.top * pitch, pitch, s.gi)

    def _part(
        self, part: _Part, group: Expr, window: _Window, image: Expr, first: Expr,
        count: Expr | int,
    ) -> None:  # fmt: skip
        """Output pixels of one part for ``count`` input rows from ``first`` on."""

        def place(y: Expr, x: Expr) -> tuple[list[Segment], Epilogue]:
            at = y * window.row_pitch + x * window.col_pitch
            epilogue = self._epilogue(part, group, image, first + y, x)
            return self._segments(part, window, at), epilogue

        weights = self._weights(part, group)
        block(weights, count, part.columns.count, self.knobs, self.cpu.lanes, place)

    def _weights(self, part: _Part, group: Expr) -> Weights | Taps:
        s, lanes = self.s, self.cpu.lanes
        if self.channelwise:
            return Taps(self.args["weight"], self.args["bias"], s.ci, part.base)
        panels = _panels(s, lanes)
        return Weights(
            self.args["weight"], self.args["bias"], panels, part.k(s.gi),
            part.base + group * (_rows(s, lanes) * panels.padded), self.cpu.by_lane,
            bias_base=group * panels.padded,
        )  # fmt: skip

    def _segments(self, part: _Part, window: _Window, at: Expr) -> list[Segment]:
        """Nothing where no tap reaches the part: its outputs are the bias."""
        rows, columns, ci = part.rows, part.columns, self.s.gi
        if not part.k(ci):
            return []
        base = window.base + at + rows.offset * window.row_pitch
        base += columns.offset * window.col_pitch
        vertical = (len(rows.taps), rows.step * window.row_pitch)
        if columns.step == 1 and window.col_pitch == ci:
            pitch = (window.row_pitch, window.col_pitch)
            k = columns.width * ci
            return [Segment(window.buffer, base, *pitch, k, repeats=(vertical,))]
        across = (columns.width, columns.step * window.col_pitch)
        pitch = (window.row_pitch, window.col_pitch)
        return [Segment(window.buffer, base, *pitch, ci, repeats=(vertical, across))]

    def _epilogue(self, part: _Part, group: Expr, image: Expr, row: Expr, column: Expr) -> Epilogue:
        s = self.s
        line = (image * s.oh + row * s.sh + part.rows.first) * s.ow
        pixel = line + column * s.sw + part.columns.first

        def epilogue(value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int) -> None:
            at = (pixel + i * (s.sh * s.ow) + j * s.sw) * s.co + group * s.go + channel
            to = (at, group * s.go + channel)
            finish_and_store(self.args, value, to, width, valid, self.act, self.res)

        return epilogue
