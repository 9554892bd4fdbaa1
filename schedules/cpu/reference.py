"""Plain numpy forms of the operators, for references: obvious rather than fast."""

from __future__ import annotations

import numpy as np

from tvm_flow.schedules.contract.base import Array


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
    """NHWC input, OIHW weight -> NHWC output, accumulated in float64."""
    view = windows(x, weight.shape[2:], stride, pad, 0.0)
    n, oh, ow = view.shape[:3]
    columns = view.reshape(n * oh * ow, -1).astype(np.float64)
    y = columns @ weight.reshape(weight.shape[0], -1).T.astype(np.float64) + bias
    return y.reshape(n, oh, ow, -1).astype(np.float32)


def depthwise_nhwc(
    x: Array, weight: Array, bias: Array, stride: tuple[int, int], pad: tuple[int, int]
) -> Array:
    """NHWC input, [c, kh, kw] weight -> NHWC output, accumulated in float64."""
    view = windows(x, weight.shape[1:], stride, pad, 0.0).astype(np.float64)
    return (np.einsum("nhwcij,cij->nhwc", view, weight) + bias).astype(np.float32)
