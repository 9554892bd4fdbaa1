"""Indices of single elements, read and written."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    dims,
    rank,
)

_REDUCTIONS = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def _gather_elements(call: Call) -> Converted:
    x = call.inputs[0]
    axis = int(call.attr("axis", 0)) % rank(x)
    indices = _from_start(call, call.inputs[1], dims(x)[axis])
    return call.emit(relax.op.gather_elements(x, indices, axis))


def _gather_nd(call: Call) -> Converted:
    x, indices = call.inputs
    batch, depth = int(call.attr("batch_dims", 0)), dims(indices)[-1]
    places = _from_start(call, indices, dims(x)[batch : batch + depth])
    return call.emit(relax.op.gather_nd(x, places, batch))


def _scatter_elements(call: Call) -> Converted:
    x, indices, updates = call.inputs
    axis = int(call.attr("axis", 0)) % rank(x)
    places = _from_start(call, indices, dims(x)[axis])
    return call.emit(relax.op.scatter_elements(x, places, updates, axis, _reduction(call)))


def _scatter_nd(call: Call) -> Converted:
    x, indices, updates = call.inputs
    known = call.known(indices)
    if known is not None and call.attr("reduction", "none") == "none":
        part = _range_of_one_axis(np.asarray(known), dims(x))
        if part is not None:
            axis, first, stop = part
            return call.emit(relax.op.slice_scatter(x, updates, first, stop, 1, axis=axis))
    places = _from_start(call, indices, dims(x)[: dims(indices)[-1]])
    return call.emit(relax.op.scatter_nd(x, places, updates, _reduction(call)))


def _range_of_one_axis(indices: np.ndarray, sizes: list[int]) -> tuple[int, int, int] | None:
    """Axis, start and stop of indices that fill a range: how ``x[:, a:b] = y`` is exported."""
    *box, depth = indices.shape
    if depth != len(box) or not indices.size:
        return None
    start = indices.reshape(-1, depth)[0]
    if not np.array_equal(indices, np.moveaxis(np.indices(box), 0, -1) + start):
        return None
    partial = [axis for axis in range(depth) if box[axis] != sizes[axis]]
    if len(partial) != 1:
        return None
    axis = partial[0]
    return axis, int(start[axis]), int(start[axis]) + box[axis]


def _reduction(call: Call) -> str:
    found = call.attr("reduction", "none")
    if found not in _REDUCTIONS:
        raise NotConvertibleError(f"its reduction is {found}")
    return _REDUCTIONS[found]


def _from_start(call: Call, indices: Any, sizes: Any) -> Any:
    """Indices of which the negative ones are counted from the start."""
    known = call.known(indices)
    if known is not None:
        return relax.const(np.where(known < 0, known + np.asarray(sizes), known), "int64")
    whole = call.cast(indices, "int64")
    length = relax.const(np.asarray(sizes), "int64")
    below = call.op(relax.op.less, whole, 0)
    return call.emit(relax.op.where(below, call.add(whole, length), whole))


CONVERTERS: dict[str, Converter] = {
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
