"""What becomes of Relax's convolutions, pooling and resizing.

Those of lines and volumes are operators on images, with views before and after them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_flow.frontend.relax_operators import Reader, Value, constant, ints, shape_of
from tvm_flow.frontend.relax_resize import resized
from tvm_flow.frontend.window_axis import WindowAxis, mean_shares
from tvm_flow.ir.graph import Node
from tvm_flow.schedules.contract.dtypes import FLOAT32


def _view(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("reshape", [x], shape, {"shape": shape}, dtype=x.dtype)


def _conv1d(reader: Reader, var: Any, call: Any) -> Value | None:
    """A 2-D convolution of images with one row."""
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or x.dtype != FLOAT32:
        return None
    if a.data_layout != "NCW" or a.kernel_layout != "OIW":
        return None
    (stride,), (left, right), (dilation,) = map(ints, (a.strides, a.padding, a.dilation))
    weight = w.weights["value"][:, :, None]
    attrs = {
        "strides": (1, stride), "padding": (0, left, 0, right), "groups": int(a.groups),
        "dilation": (1, dilation),
    }  # fmt: skip
    weights = {"weight": weight, "bias": np.zeros(weight.shape[0], weight.dtype)}
    return _on_line(x, shape_of(var), "conv2d", attrs, weights, w.modules)


def _conv3d(reader: Reader, var: Any, call: Any) -> Value | None:
    """An operator on images of which each has a volume's planes one below the other; a window of
    one plane is that of a 2-D convolution of planes."""
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    padding = ints(a.padding)
    if w.op != "const" or x.dtype != FLOAT32 or padding[:3] != padding[3:]:
        return None
    if a.data_layout != "NCDHW" or a.kernel_layout != "OIDHW":
        return None
    weight, strides, dilation = w.weights["value"], ints(a.strides), ints(a.dilation)
    bias = np.zeros(weight.shape[0], weight.dtype)
    shape = shape_of(var)
    if (weight.shape[2], strides[0], padding[0]) == (1, 1, 0):
        attrs = {
            "strides": strides[1:], "padding": padding[1:3] * 2, "dilation": dilation[1:],
            "groups": int(a.groups),
        }  # fmt: skip
        weights = {"weight": weight[:, :, 0], "bias": bias}
        of_plane = (x.shape[0] * x.shape[2], shape[1], *shape[3:])
        made = Node("conv2d", [_planes(_stacked(x), x.shape)], of_plane, attrs, weights, w.modules)
        return _view(_regrouped(made, shape[0], shape[2] * shape[3]), shape)
    attrs = {
        "depth": x.shape[2], "strides": strides, "padding": padding[:3], "dilation": dilation,
        "groups": int(a.groups),
    }  # fmt: skip
    weights = {"weight": weight, "bias": bias}
    image = (*shape[:2], shape[2] * shape[3], shape[4])
    return _view(Node("conv3d", [_stacked(x)], image, attrs, weights, w.modules), shape)


def _stacked(x: Node) -> Node:
    """Volumes [n, c, d, h, w] as images [n, c, d * h, w]."""
    n, c, d, h, w = x.shape
    return _view(x, (n, c, d * h, w))


def _planes(image: Node, volume: tuple[int, ...]) -> Node:
    """:func:`_stacked` volumes of this shape as an image per plane, [n * d, c, h, w]."""
    n, _, d, h, _ = volume
    return _regrouped(image, n * d, h)


def _regrouped(x: Node, n: int, h: int) -> Node:
    """Rows of images [n', c, h', w] as those of ``n`` images of ``h`` rows."""
    _, c, _, w = x.shape
    return x if x.shape[0] == n else Node("regroup", [x], (n, c, h, w))


def _on_line(
    x: Node, shape: tuple[int, ...], op: str, attrs: dict[str, Any], weights: dict[str, np.ndarray],
    modules: tuple[str, ...],
) -> Node:  # fmt: skip
    """A 2-D operator on [n, c, w] as [n, c, 1, w]; ``shape`` of the result has three axes too."""
    image = _view(x, (*x.shape[:2], 1, x.shape[2]))
    made = Node(op, [image], (*shape[:2], 1, shape[2]), attrs, weights, modules)
    return _view(made, shape)


def _conv2d(reader: Reader, var: Any, call: Any) -> Value | None:
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or x.dtype != FLOAT32:
        return None
    if a.data_layout != "NCHW" or a.kernel_layout != "OIHW":
        return None
    weight = w.weights["value"]
    attrs = {
        "strides": ints(a.strides), "padding": ints(a.padding), "groups": int(a.groups),
        "dilation": ints(a.dilation),
    }  # fmt: skip
    weights = {"weight": weight, "bias": np.zeros(weight.shape[0], weight.dtype)}
    return Node("conv2d", [x], shape_of(var), attrs, weights, w.modules)


def _conv1d_transpose(reader: Reader, var: Any, call: Any) -> Value | None:
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or x.dtype != FLOAT32:
        return None
    if a.data_layout != "NCW" or a.kernel_layout != "IOW":
        return None
    weights = _transposed_weights(w.weights["value"][:, :, None], int(a.groups))
    (stride,), (dilation,) = ints(a.strides), ints(a.dilation)
    attrs = {
        "strides": (1, stride), "padding": (0, ints(a.padding)[0]), "groups": int(a.groups),
        "dilation": (1, dilation),
    }  # fmt: skip
    return _on_line(x, shape_of(var), "conv_transpose", attrs, weights, w.modules)


def _transposed_weights(weight: np.ndarray, groups: int) -> dict[str, np.ndarray]:
    """[ci, co / groups, kh, kw] -> [co, ci / groups, kh, kw], and no bias."""
    ci, co, *window = weight.shape
    split = weight.reshape(groups, ci // groups, co, *window).swapaxes(1, 2)
    weight = np.ascontiguousarray(split.reshape(groups * co, ci // groups, *window))
    return {"weight": weight, "bias": np.zeros(groups * co, weight.dtype)}


def _conv_transpose(reader: Reader, var: Any, call: Any) -> Value | None:
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or x.dtype != FLOAT32:
        return None
    if a.data_layout != "NCHW" or a.kernel_layout != "IOHW":
        return None
    weights = _transposed_weights(w.weights["value"], int(a.groups))
    attrs = {
        "strides": ints(a.strides), "padding": ints(a.padding)[:2], "groups": int(a.groups),
        "dilation": ints(a.dilation),
    }  # fmt: skip
    return Node("conv_transpose", [x], shape_of(var), attrs, weights, w.modules)


def _pool(op: str) -> Callable[[Reader, Any, Any], Value | None]:
    def read(reader: Reader, var: Any, call: Any) -> Value | None:
        a, x, shape = call.attrs, reader.node(call.args[0]), shape_of(var)
        if x.dtype != FLOAT32 or a.layout != "NCHW":
            return None
        kernel, strides, given = ints(a.pool_size), ints(a.strides), ints(a.padding)
        axes = [
            WindowAxis(*numbers)
            for numbers in zip(
                x.shape[2:],
                shape[2:],
                kernel,
                strides,
                given[:2],
                given[2:],
                ints(a.dilation),
                strict=True,
            )
        ]
        if any(axis.gap for axis in axes):
            return None
        attrs = {
            "kernel": kernel, "strides": strides,
            "padding": (*given[:2], *(axis.after for axis in axes)),
        }  # fmt: skip
        if ints(a.dilation) != (1, 1):
            attrs["dilation"] = ints(a.dilation)
        pooled = Node(op, [x], shape, attrs)
        if op == "max_pool":
            return pooled
        share = mean_shares(axes, counted=bool(a.count_include_pad))
        if share is None:
            return pooled
        factor = constant(share.reshape(1, 1, *share.shape).astype(x.dtype))
        return Node("multiply", [pooled, factor], shape)

    return read


def _pool3d(op: str) -> Callable[[Reader, Any, Any], Value | None]:
    """Windows of planes, then columns of their results: both maxima and means can be taken so."""

    def read(reader: Reader, var: Any, call: Any) -> Value | None:
        a, x, shape = call.attrs, reader.node(call.args[0]), shape_of(var)
        kernel, strides, pad = ints(a.pool_size), ints(a.strides), ints(a.padding)
        plain = x.dtype == FLOAT32 and ints(a.dilation) == (1, 1, 1) and pad[:3] == pad[3:]
        fits = tuple((x.shape[2 + i] + 2 * pad[i] - kernel[i]) // strides[i] + 1 for i in range(3))
        counted = op == "max_pool" or bool(a.count_include_pad) or not any(pad)
        if not plain or shape[2:] != fits or not counted:
            return None
        n, c, d, _, _ = x.shape
        of_plane = {"kernel": kernel[1:], "strides": strides[1:], "padding": pad[1:3] * 2}
        pooled = Node(op, [_planes(_stacked(x), x.shape)], (n * d, c, *shape[3:]), of_plane)
        # [n, c, d, h * w]: a window of depth is one of rows
        columns = Node("regroup", [pooled], (n, c, d, shape[3] * shape[4]))
        deep = {"kernel": (kernel[0], 1), "strides": (strides[0], 1), "padding": (pad[0], 0) * 2}
        done = Node(op, [columns], (n, c, shape[2], shape[3] * shape[4]), deep)
        image = Node("regroup", [done], (n, c, shape[2] * shape[3], shape[4]))
        return _view(image, shape)

    return read


def _mean(reader: Reader, var: Any, call: Any) -> Value | None:
    x = reader.node(call.args[0])
    rank = len(x.shape)
    if call.attrs.axis is None or rank not in (4, 5) or x.dtype != FLOAT32:
        return None
    if sorted(int(a) % rank for a in call.attrs.axis) != list(range(2, rank)):
        return None
    pooled = Node("global_pool", [x if rank == 4 else _stacked(x)], (*x.shape[:2], 1, 1))
    shape = shape_of(var)
    return pooled if pooled.shape == shape else _view(pooled, shape)


def _adaptive(reader: Reader, var: Any, call: Any) -> Value | None:
    x, shape = reader.node(call.args[0]), shape_of(var)
    plain = shape[2:] == (1, 1) and x.dtype == FLOAT32
    return Node("global_pool", [x], shape) if plain else None


def _resize(reader: Reader, var: Any, call: Any) -> Value | None:
    return resized(reader.node(call.args[0]), shape_of(var), call.attrs)


WINDOWS: dict[str, Callable[[Reader, Any, Any], Value | None]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.nn.conv1d": _conv1d,
    "relax.nn.conv3d": _conv3d,
    "relax.nn.conv1d_transpose": _conv1d_transpose,
    "relax.nn.conv2d_transpose": _conv_transpose,
    "relax.nn.max_pool2d": _pool("max_pool"),
    "relax.nn.avg_pool2d": _pool("avg_pool"),
    "relax.nn.max_pool3d": _pool3d("max_pool"),
    "relax.nn.avg_pool3d": _pool3d("avg_pool"),
    "relax.nn.adaptive_avg_pool2d": _adaptive,
    "relax.image.resize2d": _resize,
    "relax.mean": _mean,
}
