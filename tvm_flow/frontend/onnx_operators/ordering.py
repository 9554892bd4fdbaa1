"""Running sums and the largest elements, of comparisons and sums: TVM's own call its runtime, which
no bundle has."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    array,
    dims,
    dtype_of,
    rank,
)

_LONGEST = 2048  # elements that are all compared with each other


def _cumulative(call: Call) -> Converted:
    """In as many steps as the length has binary digits: each adds what lies 1, 2,
    4, ... before."""
    x = call.inputs[0]
    axis = int(np.asarray(call.value(1)).reshape(-1)[0]) % rank(x)
    operator = relax.op.add if call.operator == "CumSum" else relax.op.multiply
    if call.attr("exclusive", 0):
        x = _later(call, x, axis, 1)
    step = 1
    while step < dims(x)[axis]:
        x = call.op(operator, x, _later(call, x, axis, step))
        step *= 2
    return x


def _later(call: Call, x: Any, axis: int, step: int) -> Any:
    """``x`` moved on along an axis, or back where sums run from the end; nothing comes in: zero for
    sums, one for products."""
    shape = dims(x)
    fill = np.full([*shape[:axis], step, *shape[axis + 1 :]], call.operator != "CumSum")
    filling = array(fill.astype(dtype_of(x)))
    if shape[axis] <= step:
        return filling
    if call.attr("reverse", 0):
        return call.concat([call.slice(x, axis, step, shape[axis]), filling], axis)
    return call.concat([filling, call.slice(x, axis, 0, shape[axis] - step)], axis)


def _top(call: Call) -> Converted:
    """The place of an element in order is the number of those in front of it; of equal ones the
    first comes first."""
    x = call.inputs[0]
    axis = int(call.attr("axis", -1)) % rank(x)
    count = int(call.attrs["k"]) if "k" in call.attrs else int(np.asarray(call.value(1)).item())
    order = [*[a for a in range(rank(x)) if a != axis], axis]
    turned = call.permute(x, order)
    *outer, size = dims(turned)
    if size > _LONGEST:
        raise NotConvertibleError(f"it orders {size} elements, and {_LONGEST} at most are compared")
    mine = call.reshape(turned, [*outer, size, 1])
    others = call.reshape(turned, [*outer, 1, size])
    ahead = relax.op.greater if call.attr("largest", 1) else relax.op.less
    earlier = array(np.tril(np.ones((size, size), np.bool_), -1))
    same = call.op(relax.op.logical_and, call.op(relax.op.equal, others, mine), earlier)
    before = call.cast(call.op(relax.op.logical_or, call.op(ahead, others, mine), same), "int32")
    place = call.emit(relax.op.sum(before, [len(outer) + 1]))
    wanted = array(np.arange(count, dtype=np.int32).reshape(-1, 1))
    there = call.op(relax.op.equal, call.reshape(place, [*outer, 1, size]), wanted)
    numbers = call.multiply(call.cast(there, "int32"), array(np.arange(size, dtype=np.int32)))
    found = call.emit(relax.op.sum(numbers, [len(outer) + 1]))
    # NaN is before and behind nothing: more than one may then claim a place
    indices = call.cast(call.op(relax.op.minimum, found, size - 1), "int64")
    values = call.emit(relax.op.gather_elements(turned, indices, len(outer)))
    back = np.argsort(order).tolist()
    return relax.Tuple([call.permute(part, back) for part in (values, indices)])


CONVERTERS: dict[str, Converter] = {
    "CumProd": _cumulative,
    "CumSum": _cumulative,
    "TopK": _top,
}
