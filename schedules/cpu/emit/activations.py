"""Activation functions: vector TIR for kernels, and plain numpy for references."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import tirx

from tvm_flow.schedules.contract.base import Array, Cpu
from tvm_flow.schedules.cpu.emit import gelu
from tvm_flow.schedules.cpu.emit.vector import Expr, Value, bind, f32, horner, maximum, minimum

#: activation of a value of some width
Activation = Callable[[Value, int], Expr]


def _clip(x: Expr, low: float, high: float, width: int) -> Expr:
    return minimum(maximum(x, f32(low, width)), f32(high, width))


def _relu(x: Value, width: int) -> Expr:
    return maximum(x(), f32(0.0, width))


def _exp(x: Value, width: int) -> Expr:
    """exp by 2**n * 2**f, |f| <= 1/2; 2**f by its degree-6 Taylor series (error 2e-8)."""
    t = bind(_clip(x(), -87.0, 88.0, width) * f32(math.log2(math.e), width), width)
    n = bind(tirx.floor(t() + f32(0.5, width)), width)
    f = bind(t() - n(), width)
    series = tuple(math.log(2) ** k / math.factorial(k) for k in range(7))
    as_int = tirx.Cast("int32" if width == 1 else f"int32x{width}", n())
    one = tirx.IntImm("int32", 127)
    bits = as_int + (one if width == 1 else tirx.Broadcast(one, width))
    shift = tirx.IntImm("int32", 1 << 23)
    scaled = bits * (shift if width == 1 else tirx.Broadcast(shift, width))
    power = tirx.reinterpret("float32" if width == 1 else f"float32x{width}", scaled)
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

NAMES = tuple(_EMIT)


def emitter(name: str, cpu: Cpu) -> Activation:
    """What emits activation ``name`` for ``cpu``."""
    return gelu.piecewise if name == "gelu" and cpu.lookup else _EMIT[name]


def reference(name: str, x: Array) -> Array:
    """The same in float64 numpy, rounded to float32 once."""
    v = x.astype(np.float64)
    erf = np.vectorize(math.erf, otypes=[np.float64])
    table: dict[str, Callable[[], np.ndarray]] = {
        "none": lambda: v,
        "relu": lambda: np.maximum(v, 0),
        "relu6": lambda: np.clip(v, 0, 6),
        "gelu": lambda: 0.5 * v * (1 + erf(v / math.sqrt(2))),
        "hardsigmoid": lambda: np.clip(v / 6 + 0.5, 0, 1),
        "hardswish": lambda: v * np.clip(v / 6 + 0.5, 0, 1),
        "sigmoid": lambda: 1 / (1 + np.exp(-v)),
        "silu": lambda: v / (1 + np.exp(-v)),
    }
    return table[name]().astype(np.float32)
