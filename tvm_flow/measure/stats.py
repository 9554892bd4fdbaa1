"""Numerical differences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def max_rel_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference as a fraction of the largest finite magnitude expected.

    A per-element ratio would blow up on the outputs that happen to be near zero; what matters for
    logits is the difference on their own scale. NaN or infinity in other places than expected gives
    ``inf``, and so does any difference of integers or booleans.
    """
    if expected.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    finite = np.isfinite(expected)
    if not finite.all():
        if not np.array_equal(actual[~finite], expected[~finite], equal_nan=True):
            return float("inf")
        actual, expected = actual[finite], expected[finite]
    scale = np.max(np.abs(expected), initial=float(np.finfo(np.float32).tiny))
    with np.errstate(invalid="ignore"):
        worst = float(np.max(np.abs(actual.astype(np.float64) - expected), initial=0.0))
    return worst / float(scale) if np.isfinite(worst) else float("inf")


def worst_rel_error(actual: Iterable[NDArray[Any]], expected: Iterable[NDArray[Any]]) -> float:
    """The largest :func:`max_rel_error` of a network's outputs, which must be as many as expected
    and of the same shapes: broadcasting would compare what does not belong together."""
    errors = []
    for found, wanted in zip(actual, expected, strict=True):
        if found.shape != wanted.shape:
            raise ValueError(f"an output has shape {found.shape}, {wanted.shape} was expected")
        errors.append(max_rel_error(found, wanted))
    return max(errors, default=0.0)
