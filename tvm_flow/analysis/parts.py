"""What the layers inside a kernel compute and move, each as if it stood alone.

Memory access cost is that of the ShuffleNet V2 paper (arXiv 1807.11164, section 2): elements of
the input read, plus elements of the weights, plus elements of the output written. Biases and the
batch norms that are folded away are not in it. By kind of layer, with h x w pixels in, H x W out:

=====================  ==========================================
1x1, c1 to c2          hw(c1 + c2) + c1 c2
k x k, c1 to c2        hw c1 + HW c2 + k^2 c1 c2
depthwise k x k        hw c + HW c + k^2 c
PConv of cp channels   2 hw cp + k^2 cp^2 (arXiv 2303.03667, eq. 4)
linear, c1 to c2       c1 + c2 + c1 c2
k x k in g groups      hw c1 + HW c2 + k^2 c1 c2 / g
transposed, 3-D        as k x k, with the volume of input, output and window
product of activations both operands and the result
pooling                hw c + HW c
activation             2 HW c
addition               3 HW c
concat and shuffle     2 HW c
change of layout       2 hw c
any other              what it takes, its weights, and what it gives
=====================  ==========================================

Pixels that a stride passes over, as of a 1x1 with stride 2, are not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.operators import mbconv
from tvm_flow.schedules.operators.conv2d import Conv2dShape
from tvm_flow.schedules.operators.conv3d import Conv3dShape
from tvm_flow.schedules.operators.conv_transpose import TransposedShape
from tvm_flow.schedules.operators.pconv import PConvShape
from tvm_flow.schedules.operators.sliding import Sliding, WindowShape

#: Kinds of parts that multiply by weights, and the others.
CONV, DEPTHWISE, PCONV, MATMUL = "conv", "depthwise", "pconv", "matmul"
POOL, ACT, ADD, SHUFFLE, LAYOUT, OTHER = "pool", "act", "add", "shuffle", "layout", "other"


@dataclass(frozen=True)
class Part:
    """One layer of a kernel.

    ``pixels`` and ``channels`` are those of its output; ``reduction``: elements every output is
    made of; ``reads``, ``weights`` and ``writes`` in elements; ``macs``: of the
    direct algorithm. ``window``: its height and width; ``groups`` of channels.
    ``act``: which activation an ``act`` is; ``image``: height and width of one output image.
    """

    kind: str
    pixels: int
    channels: int
    reduction: int
    reads: int
    weights: int
    writes: int
    macs: int = 0
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    image: tuple[int, int] = (1, 1)
    act: str = ""
    groups: int = 1

    @property
    def access(self) -> int:
        """Memory access cost in elements."""
        return self.reads + self.weights + self.writes

    @property
    def inputs(self) -> int:
        """Channels that every output of a convolution is made of."""
        return self.reduction // (self.window[0] * self.window[1])


def parts_of(problem: Problem) -> tuple[Part, ...]:
    """The layers that a kernel of ``problem`` computes, in order."""
    return tuple(_PARTS.get(problem.op, _whole)(problem))


def covered(s: Sliding) -> int:
    """Input pixels that the window touches."""
    rows = s.h if s.kh >= s.sh else min(s.h, s.oh * s.kh)
    columns = s.w if s.kw >= s.sw else min(s.w, s.ow * s.kw)
    return s.n * rows * columns


def _convolution(s: Conv2dShape) -> Part:
    pixels = s.n * s.oh * s.ow
    return Part(
        CONV, pixels, s.co, s.k, covered(s) * s.ci, s.k * s.co, pixels * s.co,
        pixels * s.co * s.k, (s.kh, s.kw), s.stride, (s.oh, s.ow), groups=s.groups,
    )  # fmt: skip


def _window(s: WindowShape, kind: str) -> Part:
    pixels, window = s.n * s.oh * s.ow, s.kh * s.kw
    weights = window * s.c if kind == DEPTHWISE else 0
    return Part(
        kind, pixels, s.c, window, covered(s) * s.c, weights, pixels * s.c, pixels * weights,
        (s.kh, s.kw), s.stride, (s.oh, s.ow),
    )  # fmt: skip


def _each(kind: str, like: Part, times: int, act: str = "") -> Part:
    """An element-wise layer on the output of ``like``, which reads ``times`` as much."""
    e = like.pixels * like.channels
    return Part(kind, like.pixels, like.channels, 1, times * e, 0, e, image=like.image, act=act)


def _activation(name: str, like: Part) -> Iterator[Part]:
    if name != "none":
        yield _each(ACT, like, 1, name)


def _epilogue(problem: Problem, like: Part) -> Iterator[Part]:
    """Residual, activation and shuffle in the order in which they are computed."""
    residual, add = problem.text("res"), _each(ADD, like, 2)
    if residual == "pre":
        yield add
    yield from _activation(problem.text("act"), like)
    if residual == "post":
        yield add
    if problem.get("mix", 0):
        both = 2 * like.channels * like.pixels
        yield Part(SHUFFLE, like.pixels, 2 * like.channels, 1, both, 0, both, image=like.image)


def _conv3d(problem: Problem) -> Iterator[Part]:
    s = Conv3dShape.of(problem)
    pixels = s.n * s.od * s.oh * s.ow
    part = Part(
        CONV, pixels, s.co, s.k, s.n * s.d * s.h * s.w * s.ci, s.k * s.co, pixels * s.co,
        pixels * s.co * s.k, (s.kh, s.kw), (s.sh, s.sw), (s.oh, s.ow), groups=s.groups,
    )  # fmt: skip
    yield part
    yield from _epilogue(problem, part)


def _conv_transpose(problem: Problem) -> Iterator[Part]:
    """Every pixel of the input is multiplied by the whole window."""
    s = TransposedShape.of(problem)
    pixels, k, taken = s.n * s.oh * s.ow, s.gi * s.kh * s.kw, s.n * s.h * s.w
    part = Part(
        CONV, pixels, s.co, k, taken * s.ci, k * s.co, pixels * s.co, taken * s.co * k,
        (s.kh, s.kw), (s.sh, s.sw), (s.oh, s.ow), groups=s.groups,
    )  # fmt: skip
    yield part
    yield from _epilogue(problem, part)


def _matmul(problem: Problem) -> Iterator[Part]:
    b, m, n, k = (problem[name] for name in ("b", "m", "n", "k"))
    x, w = (1 if problem.text("one") == name else b for name in ("x", "w"))
    reads = x * m * k + w * k * n
    yield Part(MATMUL, b * m, n, k, reads, 0, b * m * n, b * m * n * k, image=(b, m))


def _channel_shuffle(problem: Problem) -> Iterator[Part]:
    n, h, w, c = (problem[name] for name in ("n", "h", "w", "c"))
    e = n * h * w * c
    yield Part(SHUFFLE, n * h * w, c, 1, e, 0, e, image=(h, w))


def _conv2d(problem: Problem) -> Iterator[Part]:
    part = _convolution(Conv2dShape.of(problem))
    yield part
    yield from _epilogue(problem, part)


def _depthwise(problem: Problem) -> Iterator[Part]:
    part = _window(WindowShape.of(problem), DEPTHWISE)
    yield part
    yield from _activation(problem.text("act"), part)


def _mbconv(problem: Problem) -> Iterator[Part]:
    first = _convolution(mbconv.first_pointwise(problem))
    middle = _window(mbconv.window(problem, problem["hid"]), DEPTHWISE)
    last = _convolution(mbconv.last_pointwise(problem))
    yield first
    yield from _activation(problem.text("act1"), first)
    yield middle
    yield from _activation(problem.text("act2"), middle)
    yield last
    yield from _epilogue(problem, last)


def _pconv(problem: Problem) -> Iterator[Part]:
    s = PConvShape.of(problem)
    pixels, image = s.n * s.h * s.w, (s.h, s.w)
    k, part = s.k * s.k * s.cc, pixels * s.cc
    yield Part(PCONV, pixels, s.cc, k, part, k * s.cc, part, part * k, (s.k, s.k), image=image)
    products = [
        Part(CONV, pixels, n, c, pixels * c, c * n, pixels * n, pixels * n * c, image=image)
        for *_, c, n in s.products[1:]
    ]
    if len(products) == 1:
        yield products[0]
        yield from _epilogue(problem, products[0])
    elif products:
        yield products[0]
        yield from _activation(problem.text("act"), products[0])
        yield products[1]
        if problem.text("res") != "none":
            yield _each(ADD, products[1], 2)


def _pool2d(problem: Problem) -> Iterator[Part]:
    yield _window(WindowShape.of(problem), POOL)


def _global_pool(problem: Problem) -> Iterator[Part]:
    n, h, w, c = (problem[name] for name in ("n", "h", "w", "c"))
    yield Part(POOL, n, c, h * w, n * h * w * c, 0, n * c, window=(h, w))


def _transpose(problem: Problem) -> Iterator[Part]:
    n, h, w, c = (problem[name] for name in ("n", "h", "w", "c"))
    e = n * h * w * c
    yield Part(LAYOUT, n * h * w, c, 1, e, 0, e, image=(h, w))


def _whole(problem: Problem) -> Iterator[Part]:
    """An operator that is nothing of the above: what it takes, its weights, and what it gives."""
    operator = registry.operator(problem.op)
    reads = sum(math.prod(spec.shape) for spec in operator.inputs(problem))
    weights = sum(math.prod(shape) for shape in operator.weight_shapes(problem).values())
    (output,) = operator.outputs(problem)
    writes, channels = math.prod(output.shape), output.shape[-1]
    image = (output.shape[1], output.shape[2]) if len(output.shape) == 4 else (1, 1)
    macs = operator.macs(problem)
    yield Part(OTHER, writes // channels, channels, max(1, macs // writes), reads, weights, writes,
               macs, image=image)  # fmt: skip


_PARTS = {
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "conv_transpose": _conv_transpose,
    "matmul": _matmul,
    "channel_shuffle": _channel_shuffle,
    "depthwise": _depthwise,
    "mbconv": _mbconv,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "transpose": _transpose,
}
