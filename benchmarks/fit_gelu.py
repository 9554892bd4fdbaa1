"""Refit the constants of ``schedules/cpu/emit/gelu.py`` and report their errors.

Lawson's iteration (reweighted least squares towards the minimax fit) in a Chebyshev basis: of
g(u) = u*Phi(-u) on [0, 5.25] for the polynomial, and of Phi(-u) with the weight u on every piece
for the table. The coefficients of a piece are rounded to float32 from the highest power down, each
time fitting the lower ones anew, so that they make up for the rounding.

Run: ``python -m benchmarks.fit_gelu``. It prints the constants, and the largest errors of those in
``schedules/cpu/emit/gelu.py``, over [-12, 12].
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from tvm_flow.schedules.cpu.emit import gelu

DEGREE, NODES, ROUNDS = 14, 4000, 40
NODES_OF_A_PIECE = 400
Real = NDArray[np.floating[Any]]


def phi(x: Real) -> Real:
    """The normal distribution function."""
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])


def lawson(s: Real, goal: Real, scale: Real, degree: int) -> Real:
    """Chebyshev coefficients over s whose largest error, times ``scale``, is least."""
    basis = chebyshev.chebvander(s, degree) * scale[:, None]
    weight = np.ones(len(s))
    for _ in range(ROUNDS):
        c = np.linalg.lstsq(basis * weight[:, None], goal * scale * weight, rcond=None)[0]
        error = np.abs(basis @ c - goal * scale)
        weight *= np.sqrt(error / error.max() + 1e-3)
        weight /= weight.max()
    return c


def nodes(count: int) -> Real:
    """The zeros of a Chebyshev polynomial."""
    return np.cos(np.pi * (np.arange(count) + 0.5) / count)


def fit_polynomial() -> Real:
    """Coefficients in powers of s = 2u/RANGE - 1, lowest first."""
    s = nodes(NODES)
    u = (s + 1) * gelu.RANGE / 2
    return chebyshev.cheb2poly(lawson(s, u * phi(-u), np.ones(NODES), DEGREE))


def fit_piece(low: float, high: float, powers: int) -> Real:
    """Coefficients in powers of u, lowest first, on one piece."""
    s = nodes(NODES_OF_A_PIECE)
    u = low + (s + 1) * (high - low) / 2
    to_local = np.array([-(high + low), 2.0]) / (high - low)  # s in powers of u
    goal, found = phi(-u), np.zeros(powers)
    for power in reversed(range(powers)):
        top = chebyshev.cheb2poly(lawson(s, goal, u, power))[-1] * to_local[1] ** power
        found[power] = np.float32(top)
        goal = goal - found[power] * u**power
    return found


def fit_pieces() -> list[Real]:
    """Coefficients of every piece of the table."""
    edges = [max(0.0, (i - 0.5) / gelu.PIECES_PER_UNIT) for i in range(len(gelu.PIECES) + 1)]
    powers = len(gelu.PIECES[0])
    return [fit_piece(low, high, powers) for low, high in pairwise(edges)]


def fma(a: Real, b: Real | np.float64, c: Real | np.float64) -> Real:
    """a*b + c, rounded to float32 once (but for double rounding)."""
    return (a * b + c).astype(np.float32).astype(np.float64)


def error_of(g: Real, x: Real) -> float:
    """Largest absolute error of relu(x) - g."""
    y = (np.maximum(x, 0) - g).astype(np.float32)
    return float(np.abs(y - x * phi(x)).max())


def polynomial_error(x: Real) -> float:
    u = np.minimum(np.abs(x), gelu.RANGE)
    s = fma(u, np.float64(np.float32(2 / gelu.RANGE)), np.float64(-1))
    y = np.zeros_like(x)
    for c in np.array(gelu.COEFFICIENTS[::-1], np.float32).astype(np.float64):
        y = fma(y, s, c)
    return error_of(y, x)


def pieces_error(x: Real) -> float:
    u = np.minimum(np.abs(x), gelu.END)
    index = np.rint(u * gelu.PIECES_PER_UNIT).astype(int)
    table = np.array([*gelu.PIECES, [0.0] * len(gelu.PIECES[0])], np.float32).astype(np.float64)
    h = np.zeros_like(x)
    for c in reversed(table[index].T):
        h = fma(h, u, c)
    return error_of(u * h, x)


if __name__ == "__main__":
    grid = np.linspace(-12, 12, 400001).astype(np.float32).astype(np.float64)
    print("COEFFICIENTS", *(f"    {c:.9e}," for c in fit_polynomial()), sep="\n")
    print("PIECES")
    for piece in fit_pieces():
        print("    (" + ", ".join(f"{c:.9e}" for c in piece) + "),")
    print(f"max abs error of the polynomial {polynomial_error(grid):.2e}")
    print(f"max abs error of the pieces {pieces_error(grid):.2e}")
