"""What moves elements."""

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
    constant,
    dims,
    dtype_of,
    numpy_type,
    rank,
)


def _gather(call: Call) -> Converted:
    """``wrap`` counts negative indices from the end."""
    x, indices = call.inputs
    return call.emit(relax.op.take(x, indices, int(call.attr("axis", 0)) % rank(x), mode="wrap"))


def _pad(call: Call) -> Converted:
    """Pads are attributes up to operator set 10, and inputs since; negative ones cut off."""
    x = call.inputs[0]
    pads, axes = call.ints(1, "pads"), call.value(3)
    axes = list(range(rank(x))) if axes is None else [int(a) % rank(x) for a in axes]
    given = call.attrs.get("value", 0.0) if call.input(2) is None else call.value(2)
    mode, half = call.attr("mode", "constant"), len(axes)
    around = {axis: (pads[i], pads[i + half]) for i, axis in enumerate(axes)}
    for axis, (before, after) in around.items():
        size = dims(x)[axis]
        if mode == "constant":
            first, last = max(-before, 0), size - max(-after, 0)
            x = x if (first, last) == (0, size) else call.slice(x, axis, first, last)
        elif (before, after) != (0, 0):
            x = call.take(x, _padded(size, before, after, mode), axis)
    if mode != "constant" or all(max(pair) <= 0 for pair in around.values()):
        return x
    widths = [max(w, 0) for axis in range(rank(x)) for w in around.get(axis, (0, 0))]
    return _filled(call, x, widths, np.asarray(given).reshape(-1)[0].item())


def _filled(call: Call, x: Any, widths: list[int], value: Any) -> Any:
    """TVM pads floating-point numbers alone by a number."""
    kind = dtype_of(x)
    if np.dtype(kind).kind == "f":
        return call.emit(relax.op.nn.pad(x, widths, "constant", float(value)))
    for axis in range(rank(x)):
        parts = [x]
        for side, width in enumerate(widths[2 * axis : 2 * axis + 2]):
            if width:
                shape = [*dims(x)[:axis], width, *dims(x)[axis + 1 :]]
                filling = array(np.full(shape, value, kind))
                parts.insert(len(parts) * side, filling)
        x = call.concat(parts, axis)
    return x


def _padded(size: int, before: int, after: int, mode: str) -> Any:
    """Which element stands where."""
    places = np.arange(-before, size + after)
    if mode == "edge":
        return places.clip(0, size - 1)
    if mode == "wrap":
        return places % size
    if mode != "reflect":
        raise NotConvertibleError(f"its mode is {mode}")
    period = max(2 * (size - 1), 1)
    return (size - 1) - np.abs((places % period) - (size - 1))


def _tile(call: Call) -> Converted:
    x = call.inputs[0]
    if call.opset < 6:  # one axis, by a number
        raise NotConvertibleError("it is of operator set 5 or older")
    for axis, times in enumerate(call.ints(1, "repeats")):
        if times != 1:
            x = call.take(x, np.tile(np.arange(dims(x)[axis]), times), axis)
    return x


def _expand(call: Call) -> Converted:
    x, shape = call.inputs[0], call.ints(1, "shape")
    return call.broadcast(x, np.broadcast_shapes(tuple(dims(x)), tuple(shape)))


def _eye_like(call: Call) -> Converted:
    x, to = call.inputs[0], call.attrs.get("dtype")
    dtype = dtype_of(x) if to is None else numpy_type(int(to))
    rows, columns = dims(x)
    return array(np.eye(rows, columns, k=int(call.attr("k", 0))).astype(dtype))


def _triangle(call: Call) -> Converted:
    x = call.inputs[0]
    diagonal = int(np.asarray(call.value(1, np.array(0))).reshape(-1)[0])
    ones = np.ones(dims(x)[-2:], np.bool_)
    kept = np.triu(ones, diagonal) if call.attr("upper", 1) else np.tril(ones, diagonal)
    return call.emit(relax.op.where(array(kept), x, constant(0, dtype_of(x))))


def _slice(call: Call) -> Converted:
    """Bounds are attributes up to operator set 9, and inputs since."""
    x = call.inputs[0]
    starts, ends = call.ints(1, "starts"), call.ints(2, "ends")
    axes = call.ints(3, "axes", list(range(len(starts))))
    steps = call.ints(4, "steps", [1] * len(starts))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at, size = axis % rank(x), dims(x)[axis % rank(x)]
        places = range(*slice(start, _end(end, size, step), step).indices(size))
        if not places:  # something may be joined to it
            return array(np.zeros([*dims(x)[:at], 0, *dims(x)[at + 1 :]], dtype_of(x)))
        if step == 1:
            whole = len(places) == size
            x = x if whole else call.slice(x, at, places.start, places.stop)
        else:
            x = call.take(x, np.array(places), at)
    return x


def _concat(call: Call) -> Converted:
    """What has no elements is left out."""
    if not all(isinstance(x.ty, relax.TensorType) for x in call.inputs):
        return None  # shapes
    filled = [x for x in call.inputs if 0 not in dims(x)] or call.inputs[:1]
    return call.concat(filled, int(call.attr("axis")) % rank(filled[0]))


def _end(end: int, size: int, step: int) -> int | None:
    """Python has no number for the place in front of the first element."""
    return None if step < 0 and end < -size else end


def _reverse_sequence(call: Call) -> Converted:
    """The first elements of each sequence, as many as it is long, in reverse order."""
    x, lengths = call.inputs
    batch, time = int(call.attr("batch_axis", 1)), int(call.attr("time_axis", 0))
    known = call.known(lengths)
    if known is not None:
        lengths = relax.const(np.asarray(known), "int64")
    steps = dims(x)[time]
    order = [time, batch, *[a for a in range(rank(x)) if a not in (time, batch)]]
    turned = call.permute(x, order)
    at = relax.const(np.arange(steps).reshape(-1, 1), "int64")
    ends = call.reshape(call.cast(lengths, "int64"), [1, -1])
    back = call.subtract(call.subtract(ends, 1), at)
    places = call.emit(relax.op.where(call.op(relax.op.less, at, ends), back, at))
    shape = dims(turned)
    places = call.reshape(places, [*shape[:2], *[1] * (len(shape) - 2)])
    made = call.emit(relax.op.gather_elements(turned, call.broadcast(places, shape), 0))
    return call.permute(made, np.argsort(order).tolist())


def _depth_to_space(call: Call) -> Converted:
    x, block = call.inputs[0], int(call.attr("blocksize"))
    n, c, h, w = dims(x)
    if call.attr("mode", "DCR") == "DCR":
        split, order = (n, block, block, c // block**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (n, c // block**2, block, block, h, w), (0, 1, 4, 2, 5, 3)
    return call.reshape(
        call.permute(call.reshape(x, split), order), (n, c // block**2, h * block, w * block)
    )


def _space_to_depth(call: Call) -> Converted:
    x, block = call.inputs[0], int(call.attr("blocksize"))
    n, c, h, w = dims(x)
    parts = call.reshape(x, (n, c, h // block, block, w // block, block))
    order = (0, 3, 5, 1, 2, 4) if call.attr("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return call.reshape(call.permute(parts, order), (n, c * block**2, h // block, w // block))


def _one_hot(call: Call) -> Converted:
    indices, values = call.inputs[0], call.inputs[2]
    depth = int(np.asarray(call.value(1)).reshape(-1)[0])
    axis = int(call.attr("axis", -1)) % (rank(indices) + 1)
    column = [depth if a == axis else 1 for a in range(rank(indices) + 1)]
    wanted = relax.const(np.arange(depth).reshape(column), "int64")
    shape = dims(indices)
    whole = call.cast(call.reshape(indices, [*shape[:axis], 1, *shape[axis:]]), "int64")
    below = call.op(relax.op.less, whole, 0)
    given = call.emit(relax.op.where(below, call.add(whole, depth), whole))
    found = call.op(relax.op.equal, given, wanted)
    off, on = (call.slice(values, 0, place, place + 1) for place in (0, 1))
    return call.emit(relax.op.where(found, on, off))


CONVERTERS: dict[str, Converter] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Gather": _gather,
    "OneHot": _one_hot,
    "Pad": _pad,
    "ReverseSequence": _reverse_sequence,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Tile": _tile,
    "Trilu": _triangle,
}
