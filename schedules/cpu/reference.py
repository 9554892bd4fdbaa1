"""Plain numpy forms of the operators, for references: obvious rather than fast.

Floats are summed in float64 and rounded once, to the input's type. Integers are summed exactly, and
stay the 32-bit sums that kernels keep: what they are scaled to is a matter of the operator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_flow.schedules.contract.base import Array
from tvm_flow.schedules.contract.dtypes import DType


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


def depthwise_nhwc(
    x: Array, weight: Array, bias: Array, stride: tuple[int, int], pad: tuple[int, int]
) -> Array:
    """NHWC input, [c, kh, kw] weight -> NHWC output."""
    view = windows(x, weight.shape[1:], stride, pad, 0.0).astype(DType.of(x).wide)
    return (np.einsum("nhwcij,cij->nhwc", view, weight) + bias).astype(_result(x))


def _result(x: Array) -> np.dtype[Any]:
    dtype = DType.of(x)
    return dtype.numpy if dtype.is_float else dtype.accumulator.numpy
