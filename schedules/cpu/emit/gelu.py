"""The exact GELU, x*Phi(x), without division or exponential.

It is relu(x) - g(|x|) with g(u) = u*Phi(-u), which is smooth, bounded by 0.17 and vanishes to fp32
beyond 5.4. There are two ways to compute g; ``benchmarks/fit_gelu.py`` recomputes the constants.

*One polynomial* of degree 14 on [0, 5.25], in powers of s = 2u/5.25 - 1 (well conditioned: all
coefficients are below 0.6). Absolute error of GELU: 7.9e-7.

*Pieces*: u times a cubic of u for Phi(-u), whose coefficients are looked up for every lane. A piece
is what rounds to the same quarter; adding 1.5 * 2**21, whose last mantissa bit counts quarters,
leaves the piece's number in the lowest bits, and the lookup reads only those. An addition, four
lookups and four FMAs replace fifteen FMAs one after the other. Absolute error: 7.2e-7.
"""

from __future__ import annotations

from functools import cache

from tvm import tirx

from tvm_flow.schedules.cpu.emit.vector import (
    LOOKUP_ENTRIES,
    Expr,
    Value,
    bind,
    constants,
    f32,
    horner,
    lookup,
    maximum,
    minimum,
)

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

PIECES_PER_UNIT = 4
#: Of each piece, from the one around 0 on; those behind the last are zero.
PIECES: tuple[tuple[float, float, float, float], ...] = (
    (5.000000596e-01, -3.989464343e-01, 8.809557039e-05, 6.586745381e-02),
    (5.000349283e-01, -3.995264173e-01, 3.294405295e-03, 5.982137099e-02),
    (5.010474324e-01, -4.070808291e-01, 2.233347297e-02, 4.358169809e-02),
    (5.066363215e-01, -4.333357513e-01, 6.369739771e-02, 2.172148786e-02),
    (5.213603377e-01, -4.835031033e-01, 1.208621114e-01, -6.350134208e-05),
    (5.453340411e-01, -5.475156307e-01, 1.779510230e-01, -1.706895232e-02),
    (5.701426864e-01, -6.020697951e-01, 2.179913074e-01, -2.687734179e-02),
    (5.806794167e-01, -6.221005321e-01, 2.306864262e-01, -2.955969982e-02),
    (5.623785257e-01, -5.933382511e-01, 2.156125754e-01, -2.692529000e-02),
    (5.093129873e-01, -5.187488794e-01, 1.806457043e-01, -2.145822346e-02),
    (4.271466136e-01, -4.150603712e-01, 1.370098442e-01, -1.533425506e-02),
    (3.302193880e-01, -3.042125106e-01, 9.473809600e-02, -9.958813898e-03),
    (2.349552959e-01, -2.046427131e-01, 6.003724411e-02, -5.926391110e-03),
    (1.538755745e-01, -1.266268492e-01, 3.500808775e-02, -3.249064321e-03),
    (9.284489602e-02, -7.222698629e-02, 1.884132624e-02, -1.647209283e-03),
    (5.167824775e-02, -3.805172816e-02, 9.382438846e-03, -7.743794122e-04),
    (2.657194622e-02, -1.854874194e-02, 4.331521690e-03, -3.382759751e-04),
    (1.263867225e-02, -8.378996514e-03, 1.856901217e-03, -1.375294087e-04),
    (5.568068475e-03, -3.512328025e-03, 7.401898620e-04, -5.210470408e-05),
    (2.274836181e-03, -1.367845573e-03, 2.746573591e-04, -1.841443736e-05),
    (8.627969655e-04, -4.954130854e-04, 9.496119310e-05, -6.075799320e-06),
    (3.040909942e-04, -1.670242782e-04, 3.061682219e-05, -1.872894700e-06),
)
END = len(PIECES) / PIECES_PER_UNIT


def polynomial(x: Value, width: int) -> Expr:
    """GELU by one polynomial, for any vector."""
    u = minimum(tirx.abs(x()), f32(RANGE, width))
    s = bind(u * f32(2.0 / RANGE, width) - f32(1.0, width), width)
    return maximum(x(), f32(0.0, width)) - horner([f32(c, width) for c in COEFFICIENTS], s)


def piecewise(x: Value, width: int) -> Expr:
    """GELU by pieces, for vectors that ``vector.lookup`` serves; else as above."""
    if 2 * width != LOOKUP_ENTRIES:
        return polynomial(x, width)
    u = bind(minimum(f32(END, width), tirx.abs(x())), width)
    index = bind(u() + f32(1.5 * 2**23 / PIECES_PER_UNIT, width), width)
    phi = horner([lookup(table, index()) for table in _tables()], u)
    return maximum(f32(0.0, width), x()) - u() * phi


@cache
def _tables() -> tuple[tuple[Expr, Expr], ...]:
    """One table per power of u, in two vectors."""
    rest = (0.0,) * (LOOKUP_ENTRIES - len(PIECES))
    columns = [(*column, *rest) for column in zip(*PIECES, strict=True)]
    half = LOOKUP_ENTRIES // 2
    return tuple((constants(column[:half]), constants(column[half:])) for column in columns)
