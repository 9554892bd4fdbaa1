"""1x1 convolution of an NCHW tensor into an NCHW tensor, for the borders of a network.

With the roles of a matrix product exchanged, no layout needs changing: vectors run along pixels,
and what is repeated over the lanes are weights. The picture is read as it is, a block of pixels
at a time, which is multiplied by all output channels while it is in a near cache: vectors that are
not aligned cost less than copying the block into packed panels first.

Where one pixel is left beside whole vectors, as at 7 x 7, it alone has vectors along the input
channels: of a vector of pixels of its own all products but one lane would be padding (decision
0006).

The groups of a grouped convolution are images of their own here, each with its own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import InvalidKnobs, Knobs, Space
from tvm_flow.schedules.contract.problem import NCHW, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    for_flat,
    parallel,
    product,
    shared,
    tile_count,
)
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    f32,
    load,
    loop,
    pieces,
    registers,
    splat,
    store,
    store_valid,
    take,
)
from tvm_flow.schedules.operators.conv2d import CONV2D, Conv2dShape

#: fp32 lanes of the widest vectors of any target
WIDEST = 16


def fits(pixels: int) -> bool:
    """Whether an image is cut into whole vectors and one shorter vector of any target: nothing may
    be read behind the last pixel."""
    return pixels % WIDEST in (0, 1, 2, 4, 8)


class DirectNchw(CpuAlgorithm):
    """See the module's text."""

    operator, name = CONV2D, "direct"
    layouts = (NCHW,)

    def applies(self, problem: Problem, device: Cpu) -> bool:
        if not super().applies(problem, device):
            return False
        s = Conv2dShape.of(problem)
        plain = problem.text("res") == "none" and not s.mix and s.icp == s.ci
        plain &= not problem.get("post", 0)
        return s.pointwise and plain and fits(s.h * s.w)

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = Conv2dShape.of(problem)
        return packed(problem, weight=s.co * s.gi, bias=s.co)

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        return [weights["weight"].reshape(-1), weights["bias"]]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        n, h, w, ci, co = _shape(problem)
        vectors = -(-h * w // device.lanes)
        nv = min(2 if device.by_lane else 3, vectors)
        # the sums of a pixel left over have registers beside the tile's
        most = 8 if h * w % device.lanes == 1 else co
        # a block's inputs in half of L2, and blocks for all threads
        fit = device.l2_bytes // (2 * problem.dtype.bytes * ci * device.lanes)
        return {
            "nv": nv,
            "mt": max(1, min(co, most, device.tile_pixels(nv, 3), device.resident_pixels(ci))),
            "ku": 4,
            "order": 1,
            "pb": max(1, min(2 * nv, fit, n * vectors // device.threads)),
        }

    def space(self, problem: Problem, device: Cpu) -> Space:
        _, h, w, _, co = _shape(problem)
        vectors, default = -(-h * w // device.lanes), self.default(problem, device)
        choices: Space = {
            "nv": [v for v in (1, 2, 3, 4) if v <= vectors],
            "mt": [m for m in (2, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15, 28) if m <= co],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
            "pb": [b for b in (1, 2, 3, 4, 5, 6, 7, 8, 12, 14, 16, 28, 32) if b <= vectors],
        }
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        n, h, w, _, _ = _shape(problem)
        device.check_tile(knobs["mt"], knobs["nv"])
        if not fits(h * w):
            raise InvalidKnobs(f"images of {h} x {w} pixels do not end with a whole vector")
        size = knobs["pb"] * device.lanes
        whole, rest = h * w // size, h * w % size
        if n * whole < device.threads:  # too few blocks to share: output channels are
            whole, rest = 0, h * w
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            emitter = _PixelVectorEmitter(problem, device, knobs, args)
            if whole:
                with parallel(n * whole, device.threads) as task:
                    emitter.block(task // whole, (task % whole) * size, size)
                if rest:
                    with parallel(n, device.threads) as image:
                        emitter.block(image, whole * size, rest)
            else:
                with T.serial(0, n) as image:
                    emitter.block(image, 0, rest, device.threads)
        return builder.get()


class _PixelVectorEmitter:
    """Emits blocks of pixels."""

    def __init__(
        self, problem: Problem, cpu: Cpu, knobs: Knobs, args: Mapping[str, tirx.Buffer]
    ) -> None:
        _, h, w, self.ci, self.co = _shape(problem)
        self.pixels, self.act = h * w, activations.emitter(problem.text("act"), cpu)
        self.cpu, self.args = cpu, args
        self.tiling = Tiling(knobs["mt"], knobs["nv"], knobs["ku"], bool(knobs["order"]))
        self.own = _own_channels(problem)
        self.last = _LastPixelEmitter(problem, cpu, args)

    def block(self, image: Expr, first: Expr, count: int, threads: int = 1) -> None:
        """``count`` pixels of one image from ``first`` on, tiles of output channels shared by
        ``threads``."""
        most = min(self.tiling.mt, self.co)
        whole = count - count % self.cpu.lanes if self.last.alone(count) else count
        if whole < count:
            self.last.stage(image)
        with shared(tile_count(self.co, most), threads) as span:
            if whole == count:
                self._products(image, first, count, span)
                return
            # the pixel left over takes a tile's weights while they are near
            with loop(*span) as t:
                if whole:
                    self._products(image, first, whole, (t, t + 1))
                for_flat(
                    (t, t + 1), self.co, most,
                    lambda size, channel, _: self.last.emit(image, channel, size),
                )  # fmt: skip

    def _products(self, image: Expr, first: Expr, count: int, tiles: tuple[Expr, Expr]) -> None:
        weights = Weights(
            self.args["x"], None, Panels(count, self.cpu.lanes), self.ci,
            image * self.ci * self.pixels + first, self.cpu.by_lane, pitch=self.pixels,
        )  # fmt: skip
        product(
            self.co,
            self.tiling,
            weights,
            lambda c: [
                Segment(self.args["weight"], (c + self.own(image)) * self.ci, 0, self.ci, self.ci)
            ],
            lambda c: self._epilogue(image, first, c),
            tiles=tiles,
        )

    def _epilogue(self, image: Expr, first: Expr, channel: Expr) -> Epilogue:
        def epilogue(value: Value, _i: Expr, j: Expr, pixel: Expr, width: int, valid: int) -> None:
            bias = self.args["bias"][channel + self.own(image) + j]
            total = bind(value() + splat(bias, width), width)
            out = bind(self.act(total, width), width)
            at = (image * self.co + channel + j) * self.pixels + first + pixel
            store_valid(self.args["y"], out, at, width, valid)

        return epilogue


def _shape(problem: Problem) -> tuple[int, int, int, int, int]:
    """Images (as many as groups for each), their height, width and channels, output channels."""
    s = Conv2dShape.of(problem)
    return s.n * s.groups, s.h, s.w, s.gi, s.go


def _own_channels(problem: Problem) -> Callable[[Expr], Expr]:
    """The first output channel of an image among all that have weights."""
    s = Conv2dShape.of(problem)
    return lambda image: image % s.groups * s.go if s.groups > 1 else 0


class _LastPixelEmitter:
    """Emits an image's last pixel where it is alone in its vector: with vectors along the input
    channels, as otherwise it would cost as much as a full vector of pixels."""

    def __init__(self, problem: Problem, cpu: Cpu, args: Mapping[str, tirx.Buffer]) -> None:
        _, h, w, self.ci, self.co = _shape(problem)
        self.pixels, self.act = h * w, activations.emitter(problem.text("act"), cpu)
        self.args, self.lanes, self.own = args, cpu.lanes, _own_channels(problem)

    def alone(self, count: int) -> bool:
        """Whether it is, among ``count`` pixels."""
        return count % self.lanes == 1

    def stage(self, image: Expr) -> None:
        """Copy the pixel's input channels side by side."""
        self.column = T.alloc_buffer((self.ci,), self.args["x"].dtype)
        with T.serial(0, self.ci) as k:
            store(self.column, self.args["x"][(image * self.ci + k + 1) * self.pixels - 1], k, 1)

    def emit(self, image: Expr, channel: Expr, count: int) -> None:
        """``count`` output channels from ``channel`` on."""
        lanes, whole = self.lanes, self.ci // self.lanes
        own = channel + self.own(image)
        sums = registers(count * lanes)
        for i in range(count):
            store(sums, f32(0.0, lanes), i * lanes, lanes)
        if whole:
            with T.serial(0, whole) as v:
                for i in range(count):
                    total = load(sums, i * lanes, lanes)
                    total = total + self._products(own + i, v * lanes, lanes)
                    store(sums, total, i * lanes, lanes)
        for i in range(count):
            total = self._sum(load(sums, i * lanes, lanes), own + i)
            result = bind(total + self.args["bias"][own + i], 1)
            at = (image * self.co + channel + i + 1) * self.pixels - 1
            store(self.args["y"], self.act(result, 1), at, 1)

    def _products(self, channel: Expr, at: Expr, width: int) -> Expr:
        """Of ``width`` input channels from ``at`` on with their weights."""
        weight = load(self.args["weight"], channel * self.ci + at, width)
        return load(self.column, at, width) * weight

    def _sum(self, vector: Expr, channel: Expr) -> Expr:
        """The sum over a vector's lanes and over the products that filled no vector: half and half
        is added, until one is left, and on the way the rest, which is cut into such halves."""
        done = self.ci - self.ci % self.lanes
        rest = {width: done + at for at, width in pieces(self.ci - done, self.lanes)}
        width = self.lanes
        while width > 1:
            whole, half = bind(vector, width), width // 2
            vector = take(whole(), 0, half) + take(whole(), half, half)
            if half in rest:
                vector = vector + self._products(channel, rest[half], half)
            width = half
        return vector
