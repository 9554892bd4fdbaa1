"""Plain numpy forms of the operators, for references: obvious rather than fast.

Floats are summed in float64 and rounded once, to the input's type. Integers are summed exactly, and
stay the 32-bit sums that kernels keep: what they are scaled to is a matter of the operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.contract.problem import AXES, NCHW, NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec


def to_nhwc(x: Array, layout: str) -> Array:
    return x if layout == NHWC else x.transpose(AXES[NHWC])


def from_nhwc(y: Array, layout: str) -> Array:
    """An NHWC array in ``layout``, contiguous."""
    return np.ascontiguousarray(y if layout == NHWC else y.transpose(AXES[NCHW]))


def windows(
    x: Array, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int], fill: float
) -> np.ndarray:
    """NHWC -> [n, oh, ow, c, kh, kw], all windows of a padded input."""
    (ph, pw) = pad
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))
    return view[:, :: stride[0], :: stride[1]]


def conv2d_nhwc(
    x: Array, weight: Array, bias: Array, stride: tuple[int, int], pad: tuple[int, int]
) -> Array:
    """NHWC input, OIHW weight -> NHWC output."""
    view = windows(x, weight.shape[2:], stride, pad, 0.0)
    n, oh, ow = view.shape[:3]
    wide = DType.of(x).wide
    columns = view.reshape(n * oh * ow, -1).astype(wide)
    y = columns @ weight.reshape(weight.shape[0], -1).T.astype(wide) + bias
    return y.reshape(n, oh, ow, -1).astype(_result(x))


def pointwise_nhwc(x: Array, weight: Array, bias: Array) -> Array:
    """NHWC input, [co, ci] weight -> NHWC output."""
    return conv2d_nhwc(x, weight[:, :, None, None], bias, (1, 1), (0, 0))


def depthwise_nhwc(
    x: Array, weight: Array, bias: Array, stride: tuple[int, int], pad: tuple[int, int]
) -> Array:
    """NHWC input, [c, kh, kw] weight -> NHWC output."""
    view = windows(x, weight.shape[1:], stride, pad, 0.0).astype(DType.of(x).wide)
    return (np.einsum("nhwcij,cij->nhwc", view, weight) + bias).astype(_result(x))


def _result(x: Array) -> np.dtype[Any]:
    dtype = DType.of(x)
    return dtype.numpy if dtype.is_float else dtype.accumulator.numpy


_ERF = np.vectorize(math.erf, otypes=[np.float64])
_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "gelu": lambda v: 0.5 * v * (1 + _ERF(v / math.sqrt(2))),
    "hardsigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
    "hardswish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "silu": lambda v: v / (1 + np.exp(-v)),
}
#: Names of the activations that operators may have.
ACTIVATIONS = tuple(_ACTIVATIONS)
#: Activations that are exact in any type; of integers, the others depend on what these stand for.
EXACT_ACTIVATIONS = frozenset({"none", "relu", "relu6"})


def require_scale(name: str, dtype: DType) -> None:
    """Raises ``ValueError`` for an activation of integers whose scale would have to be known."""
    if name not in EXACT_ACTIVATIONS and not dtype.is_float:
        raise ValueError(f"{name} of {dtype} depends on its scale: convert it to fp32 first")


def activation(name: str, x: Array) -> Array:
    """An activation in float64, rounded to the type of ``x`` once. Raises as
    :func:`require_scale` does."""
    require_scale(name, DType.of(x))
    return _ACTIVATIONS[name](x.astype(np.float64)).astype(x.dtype)


def more_inputs(problem: Problem, grid: tuple[int, int, int]) -> list[TensorSpec]:
    """The inputs of a convolution's epilogue, for an output of ``grid`` (n, oh, ow) pixels:
    ``residual`` where ``res`` is not "none", ``bypass`` where ``mix`` is 1."""
    found = []
    if problem.text("res") != "none":
        found.append(TensorSpec("residual", (*grid, problem["co"]), "input", problem.dtype))
    if problem.get("mix", 0):
        found.append(TensorSpec("bypass", (*grid, problem["bcp"]), "input", problem.dtype))
    return found


def epilogue(problem: Problem, y: Array, more: list[Array]) -> Array:
    """Residual (before or after the activation), activation, and the channel shuffle with what
    bypasses the convolution; ``more`` as in :func:`more_inputs`."""
    more = list(more)
    residual = problem.text("res")
    y = y + more.pop(0) if residual == "pre" else y
    y = activation(problem.text("act"), y)
    y = y + more.pop(0) if residual == "post" else y
    if not problem.get("mix", 0):
        return y
    first, co = problem["bc0"], problem["co"]
    both = np.stack([more.pop(0)[..., first : first + co], y], axis=-1)
    return both.reshape(*y.shape[:3], 2 * co)
