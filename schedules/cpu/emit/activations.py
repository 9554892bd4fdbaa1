"""Activation functions as vector TIR; their plain forms are in ``operators/reference.py``."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import tirx

from tvm_flow.schedules.contract.dtypes import FLOAT32, INT32
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import gelu
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
from tvm_flow.schedules.operators.reference import EXACT_ACTIVATIONS, require_scale

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
}


def emitter(name: str, cpu: Cpu) -> Activation:
    """What emits activation ``name`` for ``cpu``; the result is of the value's type.

    Emitting raises ``ValueError`` for integers, whose scale is not known here, unless the
    activation is a comparison only.
    """
    if name in EXACT_ACTIVATIONS:
        return _EMIT[name]
    return _in_fp32(name, gelu.piecewise if name == "gelu" and cpu.lookup else _EMIT[name])


def _in_fp32(name: str, act: Activation) -> Activation:
    def emit(x: Value, width: int) -> Expr:
        dtype = dtype_of(x())
        require_scale(name, dtype)
        if dtype is FLOAT32:
            return act(x, width)
        return convert(act(bind(convert(x(), FLOAT32), width), width), dtype)

    return emit
