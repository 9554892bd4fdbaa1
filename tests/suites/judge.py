"""Whether results are those of the judge; apart from the product's own comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.suites.cases import BADLY, REFUSED, WRONG, Outcome
from tvm_flow.support.errors import (
    CompileError,
    ImportUnsupportedError,
    ModelError,
    NumericsError,
    TvmFlowError,
    UsageError,
)

Array = NDArray[np.generic]
#: Of the largest finite value expected.
TOLERANCE = 1e-4

#: What sentences say of a network that was computed otherwise than the judge computes it.
_WRONG = (" is wrong", "changes what")
#: What no user can act on: the names of another program's parts.
_FOREIGN = ("loop nest", "Relax", "relax.", "InternalError", "AttributeError", "KeyError")


def differs(made: Sequence[Array], expected: Sequence[Array], tolerance: float = TOLERANCE) -> str:
    """What is different, or nothing."""
    if len(made) != len(expected):
        return f"{len(made)} outputs instead of {len(expected)}"
    for number, (a, b) in enumerate(zip(made, expected, strict=True)):
        if problem := _differs(np.asarray(a), np.asarray(b), tolerance):
            return f"output {number}: {problem}"
    return ""


def _differs(made: Array, expected: Array, tolerance: float) -> str:
    if made.shape != expected.shape or made.dtype != expected.dtype:
        return f"{made.dtype}{list(made.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if expected.dtype.kind != "f":
        return "" if np.array_equal(made, expected) else "other values"
    a, b = made.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if (
        not np.array_equal(a[~finite], b[~finite], equal_nan=True)
        or not np.isfinite(a[finite]).all()
    ):
        return "NaN or infinity elsewhere"
    if not finite.any():
        return ""
    worst, scale = np.abs(a[finite] - b[finite]).max(), np.abs(b[finite]).max()
    return "" if worst <= tolerance * scale else f"off by {worst:.3g} at values up to {scale:.3g}"


def refusal(error: TvmFlowError) -> Outcome:
    """The class of an error of our own."""
    if isinstance(error, NumericsError):
        return Outcome(WRONG, str(error))
    if isinstance(error, ImportUnsupportedError | CompileError) and any(
        words in error.what for words in _WRONG
    ):
        return Outcome(WRONG, str(error))
    if not isinstance(error, ModelError | UsageError) or any(w in error.what for w in _FOREIGN):
        return Outcome(BADLY, str(error))
    return Outcome(REFUSED, str(error))
