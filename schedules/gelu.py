"""The exact GELU, x*Phi(x), without division or exponential.

It is relu(x) - g(|x|) with g(u) = u*Phi(-u), which is smooth, bounded by 0.17 and vanishes to fp32
beyond 5.25, so that one minimax polynomial of degree 14 on [0, 5.25] gives an absolute error of
8e-7. The coefficients are in powers of s = 2u/5.25 - 1 (well conditioned: all are below 0.6) and
are recomputed by ``benchmarks/fit_gelu.py``.
"""

from __future__ import annotations

from tvm import tirx

from schedules.vector import Expr, Value, bind, f32, horner, maximum, minimum

RANGE = 5.25
COEFFICIENTS: tuple[float, ...] = (
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


def polynomial(x: Value, width: int) -> Expr:
    """GELU by one polynomial, for any vector."""
    u = minimum(tirx.abs(x()), f32(RANGE, width))
    s = bind(u * f32(2.0 / RANGE, width) - f32(1.0, width), width)
    return maximum(x(), f32(0.0, width)) - horner([f32(c, width) for c in COEFFICIENTS], s)
