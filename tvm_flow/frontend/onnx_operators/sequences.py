"""Sequences of tensors whose length is known, which are gone once the model is imported."""

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
)


def _items(x: Any) -> list[Any]:
    """Of a sequence; what splits a tensor gives one as a whole."""
    if isinstance(x, relax.Tuple):
        return list(x.fields)
    if not isinstance(x.ty, relax.TupleType):
        raise NotConvertibleError("how long its sequence is depends on the input")
    return [relax.TupleGetItem(x, place) for place in range(len(x.ty.fields))]


def _place(call: Call, index: int, length: int, absent: int) -> int:
    """A constant position in a sequence, counted from its start; ``absent`` where it is left
    out."""
    place = int(np.asarray(call.value(index, absent)).reshape(-1)[0])
    if not -length <= place <= absent:
        raise NotConvertibleError(f"it asks for place {place} of {length}")
    return place + length if place < 0 else place


def _at(call: Call) -> Converted:
    items = _items(call.inputs[0])
    return call.emit(items[_place(call, 1, len(items), len(items) - 1)])


def _insert(call: Call) -> Converted:
    items = _items(call.inputs[0])
    items.insert(_place(call, 2, len(items), len(items)), call.inputs[1])
    return relax.Tuple(items)


def _erase(call: Call) -> Converted:
    items = _items(call.inputs[0])
    del items[_place(call, 1, len(items), len(items) - 1)]
    return relax.Tuple(items)


def _length(call: Call) -> Converted:
    return array(np.asarray(len(_items(call.inputs[0])), np.int64))


CONVERTERS: dict[str, Converter] = {
    "SequenceAt": _at,
    "SequenceErase": _erase,
    "SequenceInsert": _insert,
    "SequenceLength": _length,
}
