"""Quantised numbers: read as they are, and computed with in integers."""

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
    numpy_type,
    rank,
)
from tvm_flow.frontend.onnx_operators.windows import convolution

_NARROW = ("int8", "uint8", "int16", "uint16", "int32")


def _spread(call: Call, x: Any, part: Any) -> Any:
    """Scale or zero point against ``x``: of everything, of each place of ``axis``, or of each block
    of it."""
    if part is None or rank(part) == 0 or dims(part) == [1]:
        return part if part is None or rank(part) == 0 else call.reshape(part, [])
    axis, block = int(call.attr("axis", 1)), int(call.attr("block_size", 0))
    if rank(part) == 1 and rank(x) >= 1 and not block:
        axis = axis % rank(x) if rank(x) > 1 else 0
        return call.reshape(part, [-1 if a == axis else 1 for a in range(rank(x))])
    axis %= rank(x)
    size = dims(x)[axis]
    block = block or -(-size // dims(part)[axis])
    return call.take(part, np.arange(size) // block, axis)


def _quantise(call: Call) -> Converted:
    x, scale, zero = call.inputs[0], call.inputs[1], call.input(2)
    to = int(call.attr("output_dtype", 0))
    kind = numpy_type(to) if to else "uint8" if zero is None else dtype_of(zero)
    return quantised(call, x, _spread(call, x, scale), _spread(call, x, zero), kind)


def quantised(call: Call, x: Any, scale: Any, zero: Any, kind: str) -> Any:
    """Half goes to the even neighbour, and what does not fit to the end of the range."""
    if kind not in _NARROW:
        raise NotConvertibleError(f"its result is {kind}")
    limits = np.iinfo(kind)
    y = call.op(relax.op.round, call.divide(call.cast(x, dtype_of(scale)), scale))
    if zero is not None:
        y = call.add(y, call.cast(zero, dtype_of(y)))
    return call.cast(call.emit(relax.op.clip(y, float(limits.min), float(limits.max))), kind)


def _dequantise(call: Call) -> Converted:
    x, scale, zero = call.inputs[0], call.inputs[1], call.input(2)
    if dtype_of(x) not in _NARROW:
        raise NotConvertibleError(f"its input is {dtype_of(x)}")
    return dequantised(call, x, _spread(call, x, scale), _spread(call, x, zero))


def dequantised(call: Call, x: Any, scale: Any, zero: Any) -> Any:
    whole = call.cast(x, "int32")
    if zero is not None:
        whole = call.subtract(whole, call.cast(zero, "int32"))
    return call.multiply(call.cast(whole, dtype_of(scale)), scale)


def _centred(call: Call, x: Any, zero: Any, column: list[int] | None = None) -> Any:
    """As int32 without its zero point, which may have a place per row or column."""
    whole = call.cast(x, "int32")
    if zero is None:
        return whole
    if column is not None and rank(zero) == 1 and dims(zero) != [1]:
        zero = call.reshape(zero, column)
    elif dims(zero) == [1]:
        zero = call.reshape(zero, [])
    return call.subtract(whole, call.cast(zero, "int32"))


def _matmul_integer(call: Call) -> Converted:
    a, b = call.inputs[:2]
    left = _centred(call, a, call.input(2), [-1, 1])
    right = _centred(call, b, call.input(3))
    return call.emit(relax.op.matmul(left, right, "int32"))


def _conv_integer(call: Call) -> Converted:
    x, w = call.inputs[:2]
    column = [-1, *[1] * (rank(w) - 1)]
    return convolution(
        call, _centred(call, x, call.input(2)), _centred(call, w, call.input(3), column)
    )


def _q_matmul(call: Call) -> Converted:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = call.inputs
    left, right = _centred(call, a, a_zero, [-1, 1]), _centred(call, b, b_zero)
    product = call.emit(relax.op.matmul(left, right, "int32"))
    if rank(a_scale) == 1 and dims(a_scale) != [1]:
        a_scale = call.reshape(a_scale, [-1, 1])
    return _requantised(call, product, (a_scale, b_scale, y_scale), y_zero)


def _q_conv(call: Call) -> Converted:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = call.inputs[:8]
    column = [-1, *[1] * (rank(w) - 1)]
    y = convolution(call, _centred(call, x, x_zero), _centred(call, w, w_zero, column))
    channels = [1, -1, *[1] * (rank(w) - 2)]
    if call.input(8) is not None:
        y = call.add(y, call.reshape(call.inputs[8], channels))
    if rank(w_scale) == 1:
        w_scale = call.reshape(w_scale, channels)
    return _requantised(call, y, (x_scale, w_scale, y_scale), y_zero)


def _requantised(call: Call, y: Any, scales: tuple[Any, Any, Any], zero: Any) -> Any:
    a, b, after = (call.reshape(s, []) if dims(s) == [1] else s for s in scales)
    if rank(zero) == 1:
        zero = call.reshape(zero, [])
    factor = call.divide(call.multiply(a, b), after)
    whole = call.multiply(call.cast(y, dtype_of(factor)), factor)
    one = array(np.ones((), dtype_of(factor)))
    return quantised(call, whole, one, zero, dtype_of(zero))


CONVERTERS: dict[str, Converter] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantise,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _q_conv,
    "QLinearMatMul": _q_matmul,
    "QuantizeLinear": _quantise,
}
