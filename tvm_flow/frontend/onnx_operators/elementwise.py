"""Element by element."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx
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


def _folded(operator: Callable[[Any, Any], Any]) -> Converter:
    """Any number of inputs, one after the other."""

    def convert(call: Call) -> Converted:
        return reduce(lambda a, b: call.op(operator, a, b), call.inputs)

    return convert


def _mean(call: Call) -> Converted:
    total = _folded(relax.op.add)(call)
    return total if len(call.inputs) == 1 else call.divide(total, len(call.inputs))


def _clip(call: Call) -> Converted:
    """Bounds are attributes up to operator set 10, and optional inputs since."""
    x = call.inputs[0]
    bounds = [
        call.input(place) if call.input(place) is not None else call.attrs.get(name)
        for place, name in ((1, "min"), (2, "max"))
    ]
    known = [
        bound if bound is None or isinstance(bound, float) else call.known(bound)
        for bound in bounds
    ]
    plain = all(k is not None or b is None for k, b in zip(known, bounds, strict=True))
    if plain and not any(k is not None and np.isnan(k).any() for k in known):
        return _clip_to(call, x, known)
    for bound, operator in zip(bounds, (relax.op.maximum, relax.op.minimum), strict=True):
        if bound is not None:
            x = call.op(operator, x, bound)
    return x


def _clip_to(call: Call, x: Any, bounds: list[Any]) -> Any:
    """Numbers; integers have no infinity to stand for a bound that is not there."""
    kind = np.dtype(dtype_of(x))
    widest = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    absent = (-np.inf, np.inf) if kind.kind == "f" else (int(widest.min), int(widest.max))
    low, high = (
        none if bound is None else np.asarray(bound).reshape(-1)[0].item()
        for bound, none in zip(bounds, absent, strict=True)
    )
    low = min(low, high)  # the upper bound counts where they cross
    return call.emit(relax.op.clip(x, low, high))


def _pow(call: Call) -> Converted:
    """The result has the type of the base, whatever that of the exponent is."""
    x, y = call.inputs
    kind, exponent = dtype_of(x), call.known(y)
    if exponent is not None and np.asarray(exponent).size == 1:
        whole = float(np.asarray(exponent).reshape(-1)[0])
        if whole in (1.0, 2.0, 3.0) and rank(y) <= rank(x):
            result = x
            for _ in range(int(whole) - 1):
                result = call.multiply(result, x)
            return result
    if np.dtype(kind).kind in "iu":  # TVM has a power of floating-point numbers alone
        wide = [call.cast(v, "float64") for v in (x, y)]
        return call.cast(call.op(relax.op.power, *wide), kind)
    return call.op(relax.op.power, x, call.cast(y, kind))


def _mod(call: Call) -> Converted:
    """With ``fmod`` the sign is the dividend's, else the divisor's."""
    a, b = call.inputs
    if np.dtype(dtype_of(a)).kind != "f":
        return call.op(relax.op.mod if call.attr("fmod", 0) else relax.op.floor_mod, a, b)
    rest = call.op(relax.op.mod, a, b)
    if call.attr("fmod", 0):
        return rest
    differ = call.op(
        relax.op.logical_xor, call.op(relax.op.less, rest, 0.0), call.op(relax.op.less, b, 0.0)
    )
    left = call.op(relax.op.logical_and, differ, call.op(relax.op.not_equal, rest, 0.0))
    return call.emit(relax.op.where(left, call.add(rest, b), rest))


def _shift(call: Call) -> Converted:
    """A shift by the width of the type and more, or by less than nothing, leaves nothing."""
    x, by = call.inputs
    kind = np.dtype(dtype_of(x))
    left = call.attr("direction") == "LEFT"
    most = 8 * kind.itemsize - 1
    outside = call.op(relax.op.greater, by, most)
    if kind.kind == "i":
        outside = call.op(relax.op.logical_or, outside, call.op(relax.op.less, by, 0))
    within = call.emit(relax.op.where(outside, constant(most, str(kind)), by))
    shifted = call.op(relax.op.left_shift if left else relax.op.right_shift, x, within)
    if not left and kind.kind == "i":
        return shifted  # the sign comes in, as NumPy has it
    nothing = constant(0, str(kind))
    return call.emit(relax.op.where(outside, nothing, shifted))


def _dropout(call: Call) -> Converted:
    """Nothing is dropped in inference; the second result says which elements were kept."""
    training = call.value(2, np.array(False))
    ratio = call.value(1, np.array(0.5 if call.opset >= 12 else 0.0))
    if bool(np.asarray(training).reshape(-1)[0]) and float(np.asarray(ratio).reshape(-1)[0]) > 0:
        raise NotConvertibleError("it is in training mode, where it is random")
    x = call.inputs[0]
    kept = array(np.ones(dims(x), np.bool_ if call.opset >= 10 else dtype_of(x)))
    return relax.Tuple([x, kept]) if call.results > 1 else x


def _is_infinite(call: Call) -> Converted:
    x = call.inputs[0]
    sides = [
        call.op(relax.op.equal, x, bound)
        for name, bound in (("detect_positive", np.inf), ("detect_negative", -np.inf))
        if call.attr(name, 1)
    ]
    if not sides:
        return array(np.zeros(dims(x), np.bool_))
    return sides[0] if len(sides) == 1 else call.op(relax.op.logical_or, *sides)


def _cast(call: Call) -> Converted:
    """Numbers outside of an integer's range wrap around, through 64 bits."""
    return _converted(call, call.inputs[0], numpy_type(int(call.attr("to"))))


def _cast_like(call: Call) -> Converted:
    return _converted(call, call.inputs[0], dtype_of(call.inputs[1]))


def _converted(call: Call, x: Any, to: str) -> Any:
    kind, source = np.dtype(to), np.dtype(dtype_of(x))
    if kind.kind == "b" and source.kind != "b":
        return call.op(relax.op.not_equal, x, 0)
    if kind.kind in "iu" and source.kind == "f" and kind.itemsize < 8:
        return call.cast(call.cast(x, "int64"), to)
    return call.cast(x, to)


def _softplus(call: Call) -> Converted:
    """log(1 + exp(x)) without overflow, and without a loss near its tails."""
    x = call.inputs[0]
    small = call.op(relax.op.exp, call.op(relax.op.negative, call.op(relax.op.abs, x)))
    return call.add(call.op(relax.op.maximum, x, 0.0), log1p(call, small))


def log1p(call: Call, x: Any) -> Any:
    """log(1 + x) for x of 0 to 1: by log(1 + x) · x / ((1 + x) − 1), in which the rounding of
    1 + x cancels."""
    grown = call.add(x, 1.0)
    back = call.subtract(grown, 1.0)
    lost = call.op(relax.op.equal, back, 0.0)
    safe = call.emit(relax.op.where(lost, constant(1.0, dtype_of(x)), back))
    exact = call.divide(call.multiply(call.op(relax.op.log, grown), x), safe)
    return call.emit(relax.op.where(lost, x, exact))


def _prelu(call: Call) -> Converted:
    x, slope = call.inputs
    if call.opset < 7 and rank(slope) == 1 < rank(x):  # of the channels, whatever their place
        slope = call.reshape(slope, [-1, *[1] * (rank(x) - 2)])
    below = call.multiply(x, slope)
    return call.emit(relax.op.where(call.op(relax.op.less, x, 0), below, x))


def _elu(call: Call) -> Converted:
    return _exponential(call, float(call.attr("alpha", 1.0)), 1.0)


def _selu(call: Call) -> Converted:
    return _exponential(
        call, float(call.attr("alpha", 1.67326319217681884765625)),
        float(call.attr("gamma", 1.05070102214813232421875)),
    )  # fmt: skip


def _exponential(call: Call, alpha: float, gamma: float) -> Any:
    """gamma · x above zero, gamma · alpha · (exp(x) − 1) below."""
    x = call.inputs[0]
    grown = call.op(relax.op.exp, call.op(relax.op.minimum, x, 0.0))
    below = call.multiply(call.subtract(grown, 1.0), alpha)
    y = call.emit(relax.op.where(call.op(relax.op.less, x, 0.0), below, x))
    return y if gamma == 1.0 else call.multiply(y, gamma)


def _sign(call: Call) -> Converted:
    x = call.inputs[0]
    kind = dtype_of(x)
    up, down = call.op(relax.op.greater, x, 0), call.op(relax.op.less, x, 0)
    return call.subtract(call.cast(up, kind), call.cast(down, kind))


def _reciprocal(call: Call) -> Converted:
    return call.divide(constant(1.0, dtype_of(call.inputs[0])), call.inputs[0])


def _identity(call: Call) -> Converted:
    return call.inputs[0]


def _bit_cast(call: Call) -> Converted:
    raise NotConvertibleError(
        f"it reads the bits of {dtype_of(call.inputs[0])} as "
        f"{onnx.TensorProto.DataType.Name(int(call.attr('to')))}"
    )


CONVERTERS: dict[str, Converter] = {
    "BitCast": _bit_cast,
    "BitShift": _shift,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Dropout": _dropout,
    "Elu": _elu,
    "IsInf": _is_infinite,
    "Max": _folded(relax.op.maximum),
    "Mean": _mean,
    "Min": _folded(relax.op.minimum),
    "Mod": _mod,
    "PRelu": _prelu,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Selu": _selu,
    "Sign": _sign,
    "Softplus": _softplus,
    "Sum": _folded(relax.op.add),
    "Identity": _identity,
}
