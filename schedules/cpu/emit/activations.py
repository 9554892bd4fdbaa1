"""Activation functions as vector TIR; their plain forms are in ``operators/activations.py``."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from tvm_flow.schedules.contract.dtypes import FLOAT32, INT32
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import elementary, gelu
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    constant,
    convert,
    dtype_of,
    f32,
    horner,
    maximum,
    minimum,
    reinterpret,
)
from tvm_flow.schedules.operators.activations import EXACT_ACTIVATIONS, parse, require_scale

#: activation of a value of some width
Activation = Callable[[Value, int], Expr]


def _clip(x: Expr, low: float, high: float, width: int) -> Expr:
    dtype = dtype_of(x)
    return minimum(maximum(x, constant(low, width, dtype)), constant(high, width, dtype))


def _relu(x: Value, width: int) -> Expr:
    value = x()
    return maximum(value, constant(0, width, dtype_of(value)))


def _exp(x: Value, width: int) -> Expr:
    """exp by 2**n * 2**f, |f| <= 1/2; 2**f by its degree-6 Taylor series (error 2e-8)."""
    t = bind(_clip(x(), -87.0, 89.0, width) * f32(math.log2(math.e), width), width)
    n = bind(tirx.floor(t() + f32(0.5, width)), width)
    f = bind(t() - n(), width)
    series = tuple(math.log(2) ** k / math.factorial(k) for k in range(7))
    bits = convert(n(), INT32) + constant(127, width, INT32)
    power = reinterpret(bits * constant(1 << 23, width, INT32), FLOAT32)
    return horner([f32(c, width) for c in series], f) * power


def _sigmoid(x: Value, width: int) -> Expr:
    negative = bind(f32(0.0, width) - x(), width)
    return f32(1.0, width) / (f32(1.0, width) + _exp(negative, width))


def _softplus(x: Value, width: int) -> Expr:
    """max(x, 0) + log(1 + exp(-|x|)), which overflows nowhere."""
    power = bind(elementary.exp(bind(f32(0.0, width) - tirx.abs(x()), width), width), width)
    return maximum(x(), f32(0.0, width)) + elementary.log1p(power, width)


def _mish(x: Value, width: int) -> Expr:
    """x tanh(log(1 + e)), e = exp(x), is x n / (n + 2) with n = e (e + 2); from 20 on it is x."""
    e = bind(elementary.exp(bind(minimum(x(), f32(20.0, width)), width), width), width)
    n = bind(e() * (e() + f32(2.0, width)), width)
    return x() * (n() / (n() + f32(2.0, width)))


def _gelu_tanh(x: Value, width: int) -> Expr:
    """(1 + tanh(u)) / 2 is sigmoid(2 u)."""
    first, third = 2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715
    inner = x() * (f32(first, width) + f32(third, width) * (x() * x()))
    return x() * elementary.sigmoid(bind(inner, width), width)


def _between(x: Expr, low: float, high: float, width: int) -> Expr:
    """Without a comparison for a bound that is infinite."""
    x = x if low == -math.inf else maximum(x, f32(low, width))
    return x if high == math.inf else minimum(x, f32(high, width))


def _hardswish(a: float, b: float) -> Activation:
    def emit(x: Value, width: int) -> Expr:
        return x() * _clip(x() * f32(a, width) + f32(b, width), 0.0, 1.0, width)

    return emit


#: exp(x) - 1 over x for -0.3 < x < 0, as a series
_EXPM1 = tuple(1 / math.factorial(k) for k in range(1, 8))
_EXPM1_START = -0.3


def _elu(p: float, n: float) -> Activation:
    def emit(x: Value, width: int) -> Expr:
        below = bind(minimum(x(), f32(0.0, width)), width)
        near = horner([f32(n * c, width) for c in _EXPM1], below) * below()
        far = f32(n, width) * (elementary.exp(below, width) - f32(1.0, width))
        negative = tirx.Select(below() > f32(_EXPM1_START, width), near, far)
        return tirx.Select(x() > f32(0.0, width), x() * f32(p, width), negative)

    return emit


_EMIT: dict[str, Activation] = {
    "none": lambda x, width: x(),
    "relu": _relu,
    "relu6": lambda x, width: _clip(x(), 0.0, 6.0, width),
    "gelu": gelu.polynomial,
    "hardsigmoid": lambda x, width: _clip(
        x() * f32(1 / 6, width) + f32(0.5, width), 0.0, 1.0, width
    ),
    "hardswish": lambda x, width: (
        x() * _clip(x() * f32(1 / 6, width) + f32(0.5, width), 0.0, 1.0, width)
    ),
    "sigmoid": _sigmoid,
    "silu": lambda x, width: x() * _sigmoid(x, width),
    "tanh": elementary.tanh,
    "softplus": _softplus,
    "mish": _mish,
    "gelu_tanh": _gelu_tanh,
}
#: Of the numbers in an activation's text.
_EMIT_WITH: dict[str, Callable[..., Activation]] = {
    "clip": lambda low, high: lambda x, width: _between(x(), low, high, width),
    "hardswish": _hardswish,
    "silu": lambda b: lambda x, width: x() * _sigmoid(bind(x() * f32(b, width), width), width),
    "leakyrelu": lambda a: (
        lambda x, width: tirx.Select(x() > f32(0.0, width), x(), x() * f32(a, width))
    ),
    "elu": _elu,
}


def emitter(name: str, cpu: Cpu) -> Activation:
    """What emits activation ``name``, as in a problem, for ``cpu``; the result is of the value's
    type.

    Emitting raises ``ValueError`` for integers, whose scale is not known here, unless the
    activation is a comparison only.
    """
    if name in EXACT_ACTIVATIONS:
        return _EMIT[name]
    if name == "gelu" and cpu.lookup:
        return _in_fp32(name, gelu.piecewise)
    kind, numbers = parse(name)
    return _in_fp32(name, _EMIT_WITH[kind](*numbers) if numbers else _EMIT[kind])


def _in_fp32(name: str, act: Activation) -> Activation:
    def emit(x: Value, width: int) -> Expr:
        dtype = dtype_of(x())
        require_scale(name, dtype)
        if dtype is FLOAT32:
            return act(x, width)
        return convert(act(bind(convert(x(), FLOAT32), width), width), dtype)

    return emit
