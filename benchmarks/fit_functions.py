"""Refit the polynomials of ``schedules/cpu/emit/elementary.py``.

Each is a least-squares fit of the relative error at Chebyshev nodes, which is within a factor of
two of the best one; leading coefficients that must be exact are left out of it.

Run: ``python -m benchmarks.fit_functions``. It prints the constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def nodes(low: float, high: float, count: int = 4000) -> Values:
    """Chebyshev nodes of an interval."""
    angles = (np.arange(count) + 0.5) * np.pi / count
    return (low + high) / 2 + (high - low) / 2 * np.cos(angles)


def fit(x: Values, target: Values, degree: int, weight: Values) -> Values:
    """Coefficients, lowest power first, that make ``(polynomial - target) * weight`` small."""
    powers = np.vander(x, degree + 1, increasing=True)
    scale = np.abs(powers).max(0)
    found = np.linalg.lstsq(powers / scale * weight[:, None], target * weight, rcond=None)[0]
    return found / scale


def _elementwise(function: Callable[[float], float], x: Values) -> Values:
    return np.array([function(value) for value in x])


def exp() -> Values:
    """(exp(r) - 1 - r) / r**2 for |r| <= log(2)/2."""
    r = nodes(-0.3475, 0.3475)
    return fit(r, (np.expm1(r) - r) / r**2, 4, r**2)


def log() -> Values:
    """(log(1 + f) - f + f**2/2) / f**3 for 1 + f from 1/sqrt(2) to sqrt(2)."""
    f = nodes(math.sqrt(0.5) - 1, math.sqrt(2) - 1)
    target = (np.log1p(f) - f + f * f / 2) / f**3
    return fit(f, target, 8, f**3 / np.log1p(f))


def tanh() -> Values:
    """(tanh(x)/x - 1) / x**2 in powers of x**2, for |x| <= 0.65."""
    s = nodes(1e-6, 0.65**2)
    x = np.sqrt(s)
    return fit(s, (np.tanh(x) / x - 1) / s, 5, s)


def erf() -> Values:
    """erf(x)/x in powers of x**2, for |x| <= 1."""
    s = nodes(1e-6, 1.0)
    x = np.sqrt(s)
    return fit(s, _elementwise(math.erf, x) / x, 7, np.ones_like(s))


def erfc() -> Values:
    """log(erfc(u)) in powers of u, for u from 1 to 4; what counts is the error of erfc."""
    u = nodes(0.98, 4.0)
    target = np.log(_elementwise(math.erfc, u))
    return fit(u, target, 9, np.exp(target) + 1e-6)


def main() -> None:
    for made in (exp, log, tanh, erf, erfc):
        print(f"{made.__name__.upper()} = (")
        for value in made():
            print(f"    {float(np.float32(value)):.9e},")
        print(")")


if __name__ == "__main__":
    main()
