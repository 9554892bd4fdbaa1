"""What becomes of each Relax operator that the graph has a name for.

A handler gets the reader, the variable that is bound and the call, and returns the value, or
``None`` for a call that is to stay what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import tvm
from tvm import relax

from tvm_flow.frontend.relax_resize import resized
from tvm_flow.frontend.window_axis import WindowAxis, mean_shares
from tvm_flow.ir.graph import Node
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.support.errors import ImportUnsupportedError

Value = Node | list[Any]


class Reader(Protocol):
    """Looks up what has been read so far."""

    def value(self, expr: Any) -> Value: ...

    def node(self, expr: Any) -> Node:
        """The value of ``expr``, if that is one tensor. Raises :class:`ImportUnsupportedError`."""


def constant(value: np.ndarray, module: str = "") -> Node:
    modules = (module,) if module else ()
    return Node("const", [], value.shape, weights={"value": value}, modules=modules,
                dtype=str(value.dtype))  # fmt: skip


def unsupported(what: str) -> ImportUnsupportedError:
    return ImportUnsupportedError(
        f"The model contains {what}",
        why="the import keeps operators with one tensor as result, and constants",
        fix="replace it in the model by plainer operators",
    )


def shape_of(expr: Any) -> tuple[int, ...]:
    values: Any = getattr(getattr(expr.ty, "shape", None), "values", None)
    try:
        return tuple(int(v) for v in values)
    except TypeError:
        raise ImportUnsupportedError(
            "The model has a tensor whose shape is not static",
            why=str(expr.ty),
            fix="export it with fixed sizes and pass them with --input",
        ) from None


def dtype_of(expr: Any) -> str:
    return str(expr.ty.dtype)


def _ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _view(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("reshape", [x], shape, {"shape": shape}, dtype=x.dtype)


def _conv1d(reader: Reader, var: Any, call: Any) -> Value | None:
    """A 2-D convolution of images with one row."""
    a, x, w = call.attrs, reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or x.dtype != FLOAT32:
        return None
    if a.data_layout != "NCW" or a.kernel_layout != "OIW":
        return None
    (stride,), (left, right), (dilation,) = map(_ints, (a.strides, a.padding, a.dilation))
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
    padding = _ints(a.padding)
    if w.op != "const" or x.dtype != FLOAT32 or padding[:3] != padding[3:]:
        return None
    if a.data_layout != "NCDHW" or a.kernel_layout != "OIDHW":
        return None
    weight, strides, dilation = w.weights["value"], _ints(a.strides), _ints(a.dilation)
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
        "strides": _ints(a.strides), "padding": _ints(a.padding), "groups": int(a.groups),
        "dilation": _ints(a.dilation),
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
    (stride,), (dilation,) = _ints(a.strides), _ints(a.dilation)
    attrs = {
        "strides": (1, stride), "padding": (0, _ints(a.padding)[0]), "groups": int(a.groups),
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
        "strides": _ints(a.strides), "padding": _ints(a.padding)[:2], "groups": int(a.groups),
        "dilation": _ints(a.dilation),
    }  # fmt: skip
    return Node("conv_transpose", [x], shape_of(var), attrs, weights, w.modules)


def _batch_norm(reader: Reader, var: Any, call: Any) -> Value | None:
    a, x = call.attrs, reader.node(call.args[0])
    rest = [reader.node(arg) for arg in call.args[1:]]
    if int(a.axis) != 1 or x.dtype != FLOAT32 or any(node.op != "const" for node in rest):
        return None
    gamma, beta, mean, variance = (node.weights["value"].astype(np.float64) for node in rest)
    scale = (gamma if a.scale else 1.0) / np.sqrt(variance + float(a.epsilon))
    shift = (beta if a.center else 0.0) - mean * scale
    weights = {"scale": scale.astype(x.dtype), "shift": shift.astype(x.dtype)}
    node = Node("affine", [x], x.shape, {}, weights, rest[0].modules)
    return [node, rest[2], rest[3]]


def _unary(kind: str) -> Callable[[Reader, Any, Any], Value | None]:
    def read(reader: Reader, var: Any, call: Any) -> Value | None:
        x = reader.node(call.args[0])
        return Node("act", [x], x.shape, {"kind": kind}) if x.dtype == FLOAT32 else None

    return read


def _clip(reader: Reader, var: Any, call: Any) -> Value | None:
    x, low, high = reader.node(call.args[0]), *(float(a.value) for a in call.args[1:])
    if x.dtype != FLOAT32:  # of indices, when an interpolation is spelt out
        return None
    return Node("clip", [x], x.shape, {"low": low, "high": high})


def _binary(op: str) -> Callable[[Reader, Any, Any], Value | None]:
    def read(reader: Reader, var: Any, call: Any) -> Value | None:
        a, b = reader.node(call.args[0]), reader.node(call.args[1])
        if FLOAT32 not in (a.dtype, b.dtype):
            return None
        return Node(op, [a, b], shape_of(var), dtype=dtype_of(var))

    return read


def _concat(reader: Reader, var: Any, call: Any) -> Value | None:
    parts = reader.value(call.args[0])
    if not isinstance(parts, list) or call.attrs.axis is None:
        return None
    axis = int(call.attrs.axis) % len(shape_of(var))
    return Node("concat", parts, shape_of(var), {"axis": axis}, dtype=dtype_of(var))


def slice_node(x: Node, axis: int, start: int, stop: int) -> Node:
    """Elements ``start .. stop`` of ``axis``."""
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    return Node("slice", [x], shape, {"axis": axis, "start": start, "stop": stop}, dtype=x.dtype)


def _split(reader: Reader, var: Any, call: Any) -> Value | None:
    x, cuts = reader.node(call.args[0]), call.attrs.indices_or_sections
    axis = int(call.attrs.axis) % len(x.shape)
    size = x.shape[axis]
    if (
        isinstance(cuts, (int, tvm.ir.IntImm))
        if hasattr(tvm.ir, "IntImm")
        else not hasattr(cuts, "__len__")
    ):
        step = -(-size // int(cuts))
        inner = list(range(step, size, step))
    else:
        inner = [int(c) for c in cuts]
    bounds = [0, *inner, size]
    return [slice_node(x, axis, a, b) for a, b in pairwise(bounds)]


def _strided_slice(reader: Reader, var: Any, call: Any) -> Value | None:
    x = reader.node(call.args[0])
    lists = [[int(v.value) for v in arg.fields] for arg in call.args[1:]]
    axes, begins, ends = lists[0], lists[1], lists[2]
    if any(step != 1 for step in (lists[3] if len(lists) > 3 else [])):
        return None
    node = x
    for given, begin, end in zip(axes, begins, ends, strict=True):
        axis = given % len(x.shape)
        size = x.shape[axis]
        start, stop, _ = slice(begin, end).indices(size)
        if (start, stop) != (0, size):
            node = slice_node(node, axis, start, max(start, stop))
    return node


def _take(reader: Reader, var: Any, call: Any) -> Value | None:
    """Indices that are known: neighbours are a slice, and none is negative, which TVM's code would
    read in front of the tensor."""
    x, index = reader.node(call.args[0]), reader.node(call.args[1])
    if index.op != "const" or call.attrs.axis is None or x.op == "const":
        return None
    axis = int(call.attrs.axis) % len(x.shape)
    size, places = x.shape[axis], index.weights["value"].astype(np.int64)
    places = np.where(places < 0, places + size, places)
    flat = places.reshape(-1)
    if flat.size and (flat.min() < 0 or flat.max() >= size):
        raise unsupported(f"an index outside of the {size} elements of an axis")
    if not flat.size or (np.diff(flat) != 1).any():
        inputs = [x, constant(places)]
        attrs = {"call": relax.op.take(*call.args[:2], axis, mode="wrap"), "slots": (0, 1)}
        return Node("relax.take", inputs, shape_of(var), attrs, dtype=x.dtype)
    part = slice_node(x, axis, int(flat[0]), int(flat[-1]) + 1)
    shape = shape_of(var)
    if shape == part.shape:
        return part
    return Node("reshape", [part], shape, {"shape": shape}, dtype=x.dtype)


def _slice_scatter(reader: Reader, var: Any, call: Any) -> Value | None:
    x, update = reader.node(call.args[0]), reader.node(call.args[1])
    start, stop, step = (int(a.value) for a in call.args[2:5])
    axis = int(call.attrs.axis) % len(x.shape)
    if step != 1:
        return None
    start, stop, _ = slice(start, stop).indices(x.shape[axis])
    if (start, stop) == (0, x.shape[axis]):
        return update  # PyTorch before 2.9 writes x[:, a:b] = u with one of these for the batch
    attrs = {"axis": axis, "start": start, "stop": stop}
    return Node("slice_scatter", [x, update], x.shape, attrs, dtype=x.dtype)


def _reshape(reader: Reader, var: Any, call: Any) -> Value | None:
    x, shape = reader.node(call.args[0]), shape_of(var)
    if x.op == "const":
        return Node("const", [], shape, weights={"value": x.weights["value"].reshape(shape)},
                    modules=x.modules, dtype=x.dtype)  # fmt: skip
    return Node("reshape", [x], shape, {"shape": shape}, dtype=x.dtype)


def _permute(reader: Reader, var: Any, call: Any) -> Value | None:
    x = reader.node(call.args[0])
    axes = call.attrs.axes
    axes = _ints(axes) if axes is not None else tuple(reversed(range(len(x.shape))))
    axes = tuple(a % len(x.shape) for a in axes)
    shape = tuple(x.shape[a] for a in axes)
    if x.op == "const":
        value = np.ascontiguousarray(x.weights["value"].transpose(axes))
        return Node("const", [], shape, weights={"value": value}, modules=x.modules, dtype=x.dtype)
    return Node("permute", [x], shape, {"axes": axes}, dtype=x.dtype)


def _matmul(reader: Reader, var: Any, call: Any) -> Value | None:
    x, w = reader.node(call.args[0]), reader.node(call.args[1])
    if w.op != "const" or len(w.shape) != 2 or x.op == "const" or x.dtype != FLOAT32:
        return None
    weight = np.ascontiguousarray(w.weights["value"].T)
    weights = {"weight": weight, "bias": np.zeros(weight.shape[0], weight.dtype)}
    return Node("dense", [x], shape_of(var), {}, weights, w.modules)


def _pool(op: str) -> Callable[[Reader, Any, Any], Value | None]:
    def read(reader: Reader, var: Any, call: Any) -> Value | None:
        a, x, shape = call.attrs, reader.node(call.args[0]), shape_of(var)
        if x.dtype != FLOAT32 or a.layout != "NCHW":
            return None
        kernel, strides, given = _ints(a.pool_size), _ints(a.strides), _ints(a.padding)
        axes = [
            WindowAxis(*numbers)
            for numbers in zip(
                x.shape[2:],
                shape[2:],
                kernel,
                strides,
                given[:2],
                given[2:],
                _ints(a.dilation),
                strict=True,
            )
        ]
        if any(axis.gap for axis in axes):
            return None
        attrs = {
            "kernel": kernel, "strides": strides,
            "padding": (*given[:2], *(axis.after for axis in axes)),
        }  # fmt: skip
        if _ints(a.dilation) != (1, 1):
            attrs["dilation"] = _ints(a.dilation)
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
        kernel, strides, pad = _ints(a.pool_size), _ints(a.strides), _ints(a.padding)
        plain = x.dtype == FLOAT32 and _ints(a.dilation) == (1, 1, 1) and pad[:3] == pad[3:]
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


def _broadcast(reader: Reader, var: Any, call: Any) -> Value | None:
    x = reader.node(call.args[0])
    return x if x.shape == shape_of(var) else None


def _resize(reader: Reader, var: Any, call: Any) -> Value | None:
    return resized(reader.node(call.args[0]), shape_of(var), call.attrs)


HANDLERS: dict[str, Callable[[Reader, Any, Any], Value | None]] = {
    "relax.nn.conv2d": _conv2d,
    "relax.nn.conv1d": _conv1d,
    "relax.nn.conv3d": _conv3d,
    "relax.nn.conv1d_transpose": _conv1d_transpose,
    "relax.nn.conv2d_transpose": _conv_transpose,
    "relax.nn.batch_norm": _batch_norm,
    "relax.nn.relu": _unary("relu"),
    "relax.nn.gelu": _unary("gelu"),
    "relax.nn.silu": _unary("silu"),
    "relax.sigmoid": _unary("sigmoid"),
    "relax.nn.dropout": lambda reader, var, call: [reader.node(call.args[0])] * 2,
    "relax.clip": _clip,
    "relax.add": _binary("add"),
    "relax.subtract": _binary("subtract"),
    "relax.multiply": _binary("multiply"),
    "relax.divide": _binary("divide"),
    "relax.concat": _concat,
    "relax.split": _split,
    "relax.strided_slice": _strided_slice,
    "relax.slice_scatter": _slice_scatter,
    "relax.take": _take,
    "relax.reshape": _reshape,
    "relax.expand_dims": _reshape,
    "relax.squeeze": _reshape,
    "relax.permute_dims": _permute,
    "relax.matmul": _matmul,
    "relax.nn.max_pool2d": _pool("max_pool"),
    "relax.nn.avg_pool2d": _pool("avg_pool"),
    "relax.nn.max_pool3d": _pool3d("max_pool"),
    "relax.nn.avg_pool3d": _pool3d("avg_pool"),
    "relax.nn.adaptive_avg_pool2d": _adaptive,
    "relax.image.resize2d": _resize,
    "relax.mean": _mean,
    "relax.broadcast_to": _broadcast,
}
