"""Change of layout between NCHW and NHWC.

It is a transposition of a [c, h*w] or [h*w, c] matrix per image. Squares of ``lanes`` x ``lanes``
elements are read as rows, transposed in registers and written as rows; what is left at the edges is
cut into smaller squares with power-of-two sides.
"""

from __future__ import annotations

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import NCHW_TO_NHWC, NHWC_TO_NCHW, Problem
from tvm_flow.schedules.cpu.algorithm import WeightlessAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import parallel
from tvm_flow.schedules.cpu.emit.squares import transposed
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    bind,
    for_vectors,
    load,
    pieces,
    store,
)
from tvm_flow.schedules.operators.transpose import TRANSPOSE

#: Up to so many squares are emitted one by one, so that they overlap: LLVM unrolls no loop of ours
#: (decision 0003).
_FEW_SQUARES = 4


class Transpose(WeightlessAlgorithm):
    """See the module's text."""

    operator, name = TRANSPOSE, "direct"
    layouts = (NCHW_TO_NHWC, NHWC_TO_NCHW)

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        return {"block": 4}

    def space(self, problem: Problem, device: Cpu) -> Space:
        return {"block": [1, 2, 4, 8]}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, c, pixels = problem["n"], problem["c"], problem["h"] * problem["w"]
        block = device.lanes * knobs["block"]
        whole = pixels // block
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            blocks = _BlockTransposer(
                args["x"], args["y"], c, pixels, problem.layout == NCHW_TO_NHWC, device.lanes
            )
            with parallel(n * whole, device.threads) as task:
                blocks.pixels(task // max(whole, 1), (task % max(whole, 1)) * block, block)
            if whole * block < pixels:
                with T.serial(0, n) as image:
                    blocks.pixels(image, whole * block, pixels - whole * block)
        return builder.get()


class _BlockTransposer:
    """Emits the transposition of blocks of pixels; channels outside, pixels inside, so that of
    every channel's row several cache lines in a row are touched."""

    def __init__(
        self, x: tirx.Buffer, y: tirx.Buffer, channels: int, pixels: int, to_nhwc: bool, lanes: int
    ) -> None:
        self.x, self.y, self.c, self.p, self.to_nhwc = x, y, channels, pixels, to_nhwc
        self.lanes = lanes

    def pixels(self, image: Expr, first: Expr, count: int) -> None:
        """Transpose all channels of ``count`` pixels from ``first`` on."""
        for_vectors(
            self.c,
            self.lanes,
            lambda channel, width: self._strip(image, first, count, channel, width),
        )

    def _strip(self, image: Expr, first: Expr, count: int, channel: Expr, width: int) -> None:
        """``width`` (a power of two) channels of ``count`` pixels."""
        whole = count // width
        each = T.unroll if whole <= _FEW_SQUARES else T.serial
        with each(0, whole) as square:
            self._square(image, first + square * width, channel, width)
        for offset, side in pieces(count - whole * width, width):
            for part in range(0, width, side):
                self._square(image, first + whole * width + offset, channel + part, side)

    def _square(self, image: Expr, pixel: Expr, channel: Expr, side: int) -> None:
        start = image * (self.c * self.p)
        by_channel = (start + channel * self.p + pixel, self.p)
        by_pixel = (start + pixel * self.c + channel, self.c)
        (source, row), (target, column) = (
            (by_channel, by_pixel) if self.to_nhwc else (by_pixel, by_channel)
        )
        rows = [bind(load(self.x, source + i * row, side), side) for i in range(side)]
        for i, value in enumerate(transposed(rows)):
            store(self.y, value(), target + i * column, side)
