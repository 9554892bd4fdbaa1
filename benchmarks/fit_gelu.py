"""Refit the GELU polynomial of ``schedules/gelu.py`` and report its error.

Lawson's iteration (reweighted least squares towards the minimax fit) of g(u) = u*Phi(-u) on
[0, 5.25] in the Chebyshev basis. Run: ``python -m benchmarks.fit_gelu``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import chebyshev

RANGE, DEGREE, NODES, ROUNDS = 5.25, 14, 4000, 40


def fit() -> np.ndarray:
    """Coefficients in powers of s = 2u/RANGE - 1, lowest first."""
    s = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
    u = (s + 1) * RANGE / 2
    goal = np.array([0.5 * v * math.erfc(v / math.sqrt(2)) for v in u])
    basis = chebyshev.chebvander(s, DEGREE)
    weight = np.ones(NODES)
    for _ in range(ROUNDS):
        c = np.linalg.lstsq(basis * weight[:, None], goal * weight, rcond=None)[0]
        error = np.abs(basis @ c - goal)
        weight *= np.sqrt(error / error.max() + 1e-3)
        weight /= weight.max()
    return chebyshev.cheb2poly(c)


def max_error(coefficients: np.ndarray) -> float:
    """Largest absolute error of the fp32 evaluation over [-12, 12]."""
    x = np.linspace(-12, 12, 400001).astype(np.float32)
    s = np.minimum(np.abs(x), np.float32(RANGE)) * np.float32(2 / RANGE) - np.float32(1)
    y = np.zeros_like(x)
    for c in coefficients[::-1]:
        y = (y.astype(np.float64) * s + np.float32(c)).astype(np.float32)
    exact = np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.astype(np.float64)])
    return float(np.abs(np.maximum(x, 0) - y - exact).max())


if __name__ == "__main__":
    coefficients = fit()
    print(",\n".join(f"    {c:.9e}" for c in coefficients))
    print(f"max abs error {max_error(coefficients):.2e}")
