"""Plain numpy forms of the operators, for references: obvious rather than fast.

Floats are summed in float64 and rounded once, to the input's type. Integers are summed exactly, and
stay the 32-bit sums that kernels keep: what they are scaled to is a matter of the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.contract.problem import AXES, NCHW, NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators.activations import activation

#: Of rows and of columns.
Pair = tuple[int, int]
#: Padding of rows and columns on both sides, or above, on the left, below, on the right.
Padding = tuple[int, int] | tuple[int, int, int, int]


def to_nhwc(x: Array, layout: str) -> Array:
    return x if layout == NHWC else x.transpose(AXES[NHWC])


def from_nhwc(y: Array, layout: str) -> Array:
    """An NHWC array in ``layout``, contiguous."""
    return np.ascontiguousarray(y if layout == NHWC else y.transpose(AXES[NCHW]))


def windows(
    x: Array, kernel: tuple[int, int], stride: Pair, pad: Padding, fill: float,
    dilation: Pair = (1, 1),
) -> np.ndarray:  # fmt: skip
    """NHWC -> [n, oh, ow, c, kh, kw], all windows of a padded input."""
    top, left, below, right = pad if len(pad) == 4 else (*pad, *pad)
    x = np.pad(x, ((0, 0), (top, below), (left, right), (0, 0)), constant_values=fill)
    (sh, sw), (dh, dw) = stride, dilation
    span = ((kernel[0] - 1) * dh + 1, (kernel[1] - 1) * dw + 1)
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=(1, 2))
    return view[:, ::sh, ::sw, :, ::dh, ::dw]


def conv2d_nhwc(
    x: Array, weight: Array, bias: Array, stride: Pair, pad: Padding, dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:  # fmt: skip
    """NHWC input, OIHW weight -> NHWC output."""
    view = windows(x, weight.shape[2:], stride, pad, 0.0, dilation)
    n, oh, ow, channels = view.shape[:4]
    wide, each = DType.of(x).wide, channels // groups
    parts = []
    for group, kernel in enumerate(np.split(weight.astype(wide), groups)):
        columns = view[:, :, :, group * each : (group + 1) * each].reshape(n * oh * ow, -1)
        parts.append(columns.astype(wide) @ kernel.reshape(kernel.shape[0], -1).T)
    y = np.concatenate(parts, axis=1) + bias
    return y.reshape(n, oh, ow, -1).astype(_result(x))


def pointwise_nhwc(x: Array, weight: Array, bias: Array) -> Array:
    """NHWC input, [co, ci] weight -> NHWC output."""
    return conv2d_nhwc(x, weight[:, :, None, None], bias, (1, 1), (0, 0))


def depthwise_nhwc(
    x: Array, weight: Array, bias: Array, stride: Pair, pad: Padding, dilation: Pair = (1, 1)
) -> Array:
    """NHWC input, [c, kh, kw] weight -> NHWC output."""
    view = windows(x, weight.shape[1:], stride, pad, 0.0, dilation).astype(DType.of(x).wide)
    return (np.einsum("nhwcij,cij->nhwc", view, weight) + bias).astype(_result(x))


def _result(x: Array) -> np.dtype[Any]:
    dtype = DType.of(x)
    return dtype.numpy if dtype.is_float else dtype.accumulator.numpy


def more_inputs(problem: Problem, grid: tuple[int, int, int]) -> list[TensorSpec]:
    """The inputs of a convolution's epilogue, for an output of ``grid`` (n, oh, ow) pixels:
    ``residual`` where ``res`` is not "none", ``bypass`` where ``mix`` is 1."""
    found = []
    if problem.text("res") != "none":
        found.append(TensorSpec("residual", (*grid, problem["co"]), "input", problem.dtype))
    if problem.get("mix", 0):
        found.append(TensorSpec("bypass", (*grid, problem["bcp"]), "input", problem.dtype))
    return found


#: Weights of problems with ``post`` = 1: a scale and a shift per output channel of what comes out
#: of the activation.
POST = ("post_scale", "post_shift")


def post_shapes(problem: Problem, channels: int) -> dict[str, tuple[int, ...]]:
    """Of the weights that ``post`` adds."""
    return dict.fromkeys(POST, (channels,)) if problem.get("post", 0) else {}


def activated(problem: Problem, y: Array, weights: Mapping[str, Array]) -> Array:
    """Activation, then scale and shift where the problem has them."""
    y = activation(problem.text("act"), y)
    if not problem.get("post", 0):
        return y
    scale, shift = (weights[name].astype(np.float64) for name in POST)
    return (y * scale + shift).astype(y.dtype)


def epilogue(
    problem: Problem,
    y: Array,
    more: list[Array],
    weights: Mapping[str, Array] = MappingProxyType({}),
) -> Array:
    """Residual (before or after the activation), activation, and the channel shuffle with what
    bypasses the convolution; ``more`` as in :func:`more_inputs`."""
    more = list(more)
    residual = problem.text("res")
    y = y + more.pop(0) if residual == "pre" else y
    y = activated(problem, y, weights)
    y = y + more.pop(0) if residual == "post" else y
    if not problem.get("mix", 0):
        return y
    first, co = problem["bc0"], problem["co"]
    both = np.stack([more.pop(0)[..., first : first + co], y], axis=-1)
    return both.reshape(*y.shape[:3], 2 * co)
