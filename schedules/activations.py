"""Activation functions: vector TIR for kernels, and plain numpy for references.

GELU is the exact one, x*Phi(x). Evaluated as relu(x) - g(|x|) with g(u) = u*Phi(-u), which is
smooth, bounded by 0.17 and vanishes to fp32 beyond 5.25, so that one minimax polynomial of
degree 14 on [0, 5.25] gives an absolute error of 1.0e-6 without division or exponential.
The coefficients are in powers of s = 2u/5.25 - 1 (well conditioned: all are below 0.6) and are
recomputed by ``benchmarks/fit_gelu.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import tirx

from schedules.base import Array
from schedules.vector import Expr, bind, f32, maximum, minimum

GELU_RANGE = 5.25
GELU_COEFFICIENTS: tuple[float, ...] = (
    1.137317589e-02,
    -7.630264744e-02,
    2.143380203e-01,
    -2.911494580e-01,
    8.295348099e-02,
    3.587649236e-01,
    -5.825671342e-01,
    2.526017594e-01,
    2.971376997e-01,
    -3.980790546e-01,
    2.802769609e-02,
    1.887836973e-01,
    -6.949066532e-02,
    -3.461953977e-02,
    1.822792615e-02,
)

Value = Callable[[], Expr]


def _poly(coefficients: tuple[float, ...], x: Value, width: int) -> Expr:
    """Horner's rule, highest power last in ``coefficients``."""
    y = f32(coefficients[-1], width)
    for c in reversed(coefficients[:-1]):
        y = y * x() + f32(c, width)
    return y


def _clip(x: Expr, low: float, high: float, width: int) -> Expr:
    return minimum(maximum(x, f32(low, width)), f32(high, width))


def _relu(x: Value, width: int) -> Expr:
    return maximum(x(), f32(0.0, width))


def _gelu(x: Value, width: int) -> Expr:
    u = minimum(tirx.abs(x()), f32(GELU_RANGE, width))
    s = bind(u * f32(2.0 / GELU_RANGE, width) - f32(1.0, width), width)
    return _relu(x, width) - _poly(GELU_COEFFICIENTS, s, width)


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
    return _poly(series, f, width) * power


def _sigmoid(x: Value, width: int) -> Expr:
    negative = bind(f32(0.0, width) - x(), width)
    return f32(1.0, width) / (f32(1.0, width) + _exp(negative, width))


_EMIT: dict[str, Callable[[Value, int], Expr]] = {
    "none": lambda x, width: x(),
    "relu": _relu,
    "relu6": lambda x, width: _clip(x(), 0.0, 6.0, width),
    "gelu": _gelu,
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


def emit(name: str, x: Value, width: int) -> Expr:
    """Activation ``name`` of a value that may be read more than once."""
    return _EMIT[name](x, width)


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
