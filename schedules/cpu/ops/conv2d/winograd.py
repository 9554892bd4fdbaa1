"""Dense 3 x 3 convolution, stride 1, same padding, by Winograd F(m x m, 3 x 3).

Under a dilation of d, every d-th row and column are an image of their own, whose taps are next to
each other: there are d x d such *phases*, all of the size of the largest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations, winograd
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Epilogue, Tiling, inner_threads, parallel
from tvm_flow.schedules.cpu.emit.packing import Panels, balanced, even_rows, pack_vector
from tvm_flow.schedules.cpu.emit.post import pack_post, post_weights
from tvm_flow.schedules.cpu.emit.staging import Source, stage_phase, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr, Value
from tvm_flow.schedules.cpu.ops.conv2d.emit import finish_and_store
from tvm_flow.schedules.operators.conv2d import CONV2D, Conv2dShape


class Winograd(CpuAlgorithm):
    """F(m x m, 3 x 3); see the module's text."""

    operator = CONV2D

    def __init__(self, m: int) -> None:
        self.m, self.name = m, f"winograd{m}"

    def applies(self, problem: Problem, device: Cpu) -> bool:
        return super().applies(problem, device) and same_3x3(phase_of(problem))

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        panels = Panels(problem["co"], device.lanes)
        size = winograd.packed_size(self.m, problem["ci"], panels)
        own = packed(problem, weight=size, bias=panels.padded)
        return [*own, *post_weights(problem, device, panels.n)]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        matrices = winograd.pack_weights(weights["weight"], self.m, device.lanes)
        bias = pack_vector(weights["bias"], device.lanes)
        return [matrices, bias, *pack_post(problem, device, weights)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        problem = phase_of(problem)
        m, h, w, n = (self.m, *(problem[k] for k in ("h", "w", "n")))
        across, down = -(-w // m), -(-h // m)
        size = problem.dtype.bytes * winograd.positions(m)
        per_row = size * across * (problem["ci"] + problem["co"])
        fit = max(1, device.l2_bytes // 2 // per_row)
        weights = size * problem["ci"] * problem["co"]
        # Threads that share out rows stream all weights each, for few tiles; where weights are
        # large they share each product instead (decision 0010).
        split = device.threads > 1 and n == 1 and weights > device.l2_bytes
        threads, together = (1, device.threads) if split else (device.threads, 1)
        share = max(1, -(-down // max(1, threads // n)))
        rows = even_rows(down, min(fit, share), threads, n)
        if weights > device.l2_bytes:  # weights are streamed once per block
            rows = min(share, max(rows, -(-28 * together // across)))
        nv = min(2, Panels(problem["co"], device.lanes).count)
        tiles = rows * across
        mt = balanced(tiles, min(tiles, device.tile_pixels(nv, 2 + nv)))[0][0]
        knobs = {"rows": rows, "mt": mt, "nv": nv, "ku": 4, "order": 1}
        return knobs | ({"split": int(split)} if device.threads > 1 else {})

    def space(self, problem: Problem, device: Cpu) -> Space:
        default, m = self.default(problem, device), self.m
        problem = phase_of(problem)
        down = -(-problem["h"] // m)
        panels = Panels(problem["co"], device.lanes).count
        choices = {
            "rows": [r for r in (1, 2, 3, 4, 7) if r <= down],
            "mt": [4, 6, 7, 8, 10, 12, 14, 28],
            "nv": [v for v in (1, 2, 3, 4) if v <= panels],
            "ku": [2, 4, 8],
            "order": [0, 1],
        } | ({"split": [0, 1]} if device.threads > 1 else {})
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        device.check_tile(knobs["mt"], knobs["nv"])
        phase = phase_of(problem)
        n, h = phase["n"], phase["h"]
        rows = min(h, knobs["rows"] * self.m)
        whole, rest = divmod(h, rows)
        blocks = whole + (1 if rest else 0)
        with (
            IRBuilder() as builder,
            prim_func(self, problem, device, name) as args,
            parallel(n * blocks, device.threads // inner_threads(device, knobs)) as task,
        ):
            image, block = task // blocks, task % blocks
            if not rest:
                self._block(problem, device, knobs, args, image, block * rows, rows)
            else:
                with T.If(block < whole):
                    with T.Then():
                        self._block(problem, device, knobs, args, image, block * rows, rows)
                    with T.Else():
                        self._block(problem, device, knobs, args, image, block * rows, rest)
        return builder.get()

    def _block(
        self, problem: Problem, device: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer],
        image: Expr, first: Expr, rows: int,
    ) -> None:  # fmt: skip
        """Outputs of ``rows`` rows from row ``first``."""
        phase, d = phase_of(problem), problem.get("dh", 1)
        m, w, ci, co = (self.m, *(phase[k] for k in ("w", "ci", "co")))
        right = winograd.covered(w, m) + 1 - w
        source = Source(
            args["x"], problem["h"], problem["w"], problem["icp"], problem["ic0"], ci, 1,
            right=right, every=d,
        )  # fmt: skip
        need, pitch = winograd.covered(rows, m) + 2, source.width * ci
        pad = T.alloc_buffer((need * pitch,), source.buffer.dtype)
        stage = stage_rows if d == 1 else stage_phase
        stage(source, pad, image, first - 1, need, need, device.lanes)
        act, res = activations.emitter(problem.text("act"), device), problem.text("res")

        def epilogue(y: Expr, x: Expr) -> Epilogue:
            def store(
                value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int
            ) -> None:
                with _output_pixel(problem, image, (first, y, i), (x, j)) as pixel:
                    to = (pixel * co + channel, channel)
                    finish_and_store(args, value, to, width, valid, act, res)

            return store

        winograd.WinogradEmitter(
            m=m, rows=rows, width=w, ci=ci, pad=pad, pitch=pitch, weight=args["weight"],
            bias=args["bias"], panels=Panels(co, device.lanes),
            tiling=Tiling(knobs["mt"], knobs["nv"], knobs["ku"], bool(knobs["order"])),
            epilogue=epilogue, by_lane=device.by_lane, threads=inner_threads(device, knobs),
        ).emit()  # fmt: skip


def phase_of(problem: Problem) -> Problem:
    """The undilated problem that a phase is, its images those of all phases; any other problem as
    it is."""
    s = Conv2dShape.of(problem)
    d, others = s.dh, ("dh", "dw", "ph", "pw", "pb", "pr")
    if d == 1 or s.dw != d or s.border != (d,) * 4:
        return problem
    params = {k: v for k, v in problem.params if k not in others}
    smaller = {"n": s.n * d * d, "h": -(-s.h // d), "w": -(-s.w // d), "ph": 1, "pw": 1}
    return Problem.of(problem.op, {**params, **smaller}, problem.layout, problem.dtype)


@contextmanager
def _output_pixel(
    problem: Problem, image: Expr, row: tuple[Expr, Expr, Expr], column: tuple[Expr, Expr]
) -> Iterator[Expr]:
    """The number of an output pixel of a phase, and a condition where phases are of different
    sizes. ``row``: the block's first row, the tile's in the block, the pixel's in the tile;
    ``column``: the tile's, the pixel's in the tile."""
    d, h, w = problem.get("dh", 1), problem["h"], problem["w"]
    (first, down, i), (across, j) = row, column
    if d == 1:
        yield (image * h + first + down) * w + across + i * w + j
        return
    phase = image % (d * d)
    y, x = (first + down + i) * d + phase // d, (across + j) * d + phase % d
    pixel = (image // (d * d) * h + y) * w + x
    if h % d == 0 and w % d == 0:
        yield pixel
        return
    with T.If(tirx.And(y < h, x < w)), T.Then():
        yield pixel


def same_3x3(problem: Problem) -> bool:
    """Whether it is 3 x 3 with stride 1 and same padding, in one group, its output stored as it
    is."""
    s = Conv2dShape.of(problem)
    window = (s.kh, s.kw, *s.stride, *s.border, *s.dilation)
    return window == (3, 3, *[1] * 8) and s.groups == 1 and not s.mix
