"""Dense 3-D convolution by direct summation, group by group.

As in two dimensions, with the planes that a window spans one behind the other in the reduction.
With padding, the rows that a block of output rows needs of each of them are staged between zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
from tvm_flow.schedules.operators.conv3d import CONV3D, Conv3dShape


class Conv3d(CpuAlgorithm):
    """See the module's text."""

    operator, name = CONV3D, "direct"

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = Conv3dShape.of(problem)
        padded = s.co if s.channelwise else s.groups * Panels(s.go, device.lanes).padded
        return packed(problem, weight=s.k * padded, bias=padded)

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        s = Conv3dShape.of(problem)
        if s.channelwise:
            return [np.ascontiguousarray(weights["weight"].reshape(s.co, -1).T).reshape(-1),
                    weights["bias"]]  # fmt: skip
        matrices = [
            pack_matrix(part.transpose(2, 3, 4, 1, 0).reshape(s.k, s.go), device.lanes)
            for part in np.split(weights["weight"], s.groups)
        ]
        biases = [pack_vector(part, device.lanes) for part in np.split(weights["bias"], s.groups)]
        return [np.concatenate(matrices), np.concatenate(biases)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = Conv3dShape.of(problem)
        panels = Panels(s.go, device.lanes)
        nv = min(2, panels.count)
        most = device.tile_pixels(nv, 8 if panels.tail and device.registers >= 32 else 3)
        if s.channelwise:
            nv, most = 1, device.registers // 2
        mt = min(s.ow, most)
        mt = -(-s.ow // -(-s.ow // mt))
        th = max(1, min(s.oh, most // mt, 4)) if s.ow == mt else 1
        tasks = s.n * s.od
        rows = min(28, s.oh if tasks >= 4 * device.threads else s.oh // (4 * device.threads))
        block = max(th, even_rows(s.oh, max(1, rows), device.threads, tasks))
        return {"nv": nv, "mt": mt, "ku": 4, "order": 1, "th": th, "rb": block}

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = Conv3dShape.of(problem), self.default(problem, device)
        choices: Space = {
            "nv": [v for v in (1, 2, 3, 4, 6) if v <= Panels(s.go, device.lanes).count],
            "mt": [m for m in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 28) if m <= s.ow],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "th": [t for t in (1, 2, 3, 4) if t <= s.oh],
            "rb": [r for r in (1, 2, 4, 7, 8, 14, 16, 28) if r <= s.oh],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = Conv3dShape.of(problem)
        device.check_tile(knobs["mt"] * knobs["th"], knobs["nv"])
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            act = activations.emitter(problem.text("act"), device)
            _Emitter(s, device, knobs, args, act, problem.text("res")).emit()
        return builder.get()


class _Emitter:
    """Emits the kernel: parallel over groups, images, output planes and blocks of their rows."""

    def __init__(
        self, s: Conv3dShape, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer],
        act: Activation, res: str,
    ) -> None:  # fmt: skip
        #: channels that have nothing to do with each other are one group, vectors along them
        self.channelwise, self.s = s.channelwise, replace(s, groups=1) if s.channelwise else s
        self.cpu, self.knobs, self.args, self.act, self.res = cpu, knobs, args, act, res
        self.panels = Panels(self.s.go, cpu.lanes)

    def emit(self) -> None:
        s, rows = self.s, self.knobs["rb"]
        blocks = -(-s.oh // rows)
        with parallel(s.groups * s.n * s.od * blocks, self.cpu.threads) as task:
            group, of_group = task // (s.n * s.od * blocks), task % (s.n * s.od * blocks)
            plane, first = of_group // blocks, (of_group % blocks) * rows
            count = rows if s.oh % rows == 0 else tirx.Min(s.oh - first, rows)
            self._block(group, plane, first, count)

    def _block(self, group: Expr, plane: Expr, first: Expr, count: Expr | int) -> None:
        """``count`` rows from ``first`` on of output plane ``plane`` of the n * od there are."""
        s, window = self.s, self._window(group, plane, first)

        def place(y: Expr, x: Expr) -> tuple[list[Segment], Epilogue]:
            pixel = (plane * s.oh + first + y) * s.ow + x

            def epilogue(
                value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int
            ) -> None:
                at = (pixel + i * s.ow + j) * s.co + group * s.go + channel
                to = (at, group * s.go + channel)
                finish_and_store(self.args, value, to, width, valid, self.act, self.res)

            return [window.at(y * window.row_pitch + x * window.col_pitch)], epilogue

        block(self._weights(group), count, s.ow, self.knobs, self.cpu.lanes, place)

    def _weights(self, group: Expr) -> Weights | Taps:
        s, args, padded = self.s, self.args, self.panels.padded
        if self.channelwise:
            return Taps(args["weight"], args["bias"], s.ci)
        return Weights(
            args["weight"], args["bias"], self.panels, s.k, group * (s.k * padded),
            self.cpu.by_lane, bias_base=group * padded,
        )  # fmt: skip

    def _window(self, group: Expr, plane: Expr, first: Expr) -> Segment:
        """What output row ``first``, column 0, reads; pitches are per output row and column."""
        s, x, channel = self.s, self.args["x"], group * self.s.gi + self.s.ic0
        image, top = plane // s.od, (plane % s.od) * s.sd - s.pd
        if not s.padded:
            line = s.w * s.icp
            base = (((image * s.d + top) * s.h) + first * s.sh) * line + channel
            return _segment(s, x, base, s.dd * s.h * line, line, s.icp)
        need = (self.knobs["rb"] - 1) * s.sh + (s.kh - 1) * s.dh + 1
        source = Source(x, s.h, s.w, s.icp, channel, s.gi, s.pw)
        line = source.width * s.gi
        pad = T.alloc_buffer((s.kd * need * line,), x.dtype)
        with T.serial(0, s.kd) as tap:
            depth = T.bind(top + tap * s.dd)
            # of a plane outside of the volume, every row is outside of the plane
            inside = tirx.all(depth >= 0, depth < s.d)
            start = T.bind(tirx.Select(inside, first * s.sh - s.ph, s.h))
            stage_rows(
                source, pad, image * s.d + depth, start, need, need, self.cpu.lanes,
                first=tap * need,
            )  # fmt: skip
        return _segment(s, pad, 0, need * line, line, s.gi)


def _segment(
    s: Conv3dShape, buffer: tirx.Buffer, base: Expr, plane: int, line: int, pixel: int
) -> Segment:
    """A window whose planes, lines and pixels lie so far apart."""
    repeats = ((s.kd, plane), (s.kh, s.dh * line))
    pitch = (s.sh * line, s.sw * pixel)
    if s.dw == 1 and pixel == s.gi:
        return Segment(buffer, base, *pitch, s.kw * s.gi, repeats=repeats)
    return Segment(buffer, base, *pitch, s.gi, repeats=(*repeats, (s.kw, s.dw * pixel)))
