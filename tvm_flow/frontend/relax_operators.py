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


def ints(values: Any) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


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
    axes = ints(axes) if axes is not None else tuple(reversed(range(len(x.shape))))
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


def _broadcast(reader: Reader, var: Any, call: Any) -> Value | None:
    x = reader.node(call.args[0])
    return x if x.shape == shape_of(var) else None


HANDLERS: dict[str, Callable[[Reader, Any, Any], Value | None]] = {
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
    "relax.broadcast_to": _broadcast,
}
