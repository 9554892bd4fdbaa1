"""When two values of the same place are the same."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Of the largest value: what fp32 in another order of sums stays below, and no wrong operator does.
TOLERANCE = 1e-4
#: Of the largest input: what is lost where almost nothing is left of large numbers.
CANCELLED = 1e-6


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference as a fraction of the largest finite value expected; infinite for other
    shapes or types than expected, and for NaN or infinity in other places. Integers and booleans
    are the same or not."""
    if actual.shape != expected.shape or actual.dtype is not expected.dtype:
        return float("inf")
    if not actual.is_floating_point():
        return 0.0 if torch.equal(actual, expected) else float("inf")
    actual, expected = actual.double(), expected.double()
    finite = torch.isfinite(expected)
    if not finite.all():
        if not torch.allclose(actual[~finite], expected[~finite], equal_nan=True):
            return float("inf")
        actual, expected = actual[finite], expected[finite]
    if not actual.numel():
        return 0.0
    worst, scale = float((actual - expected).abs().max()), float(expected.abs().max())
    if worst == 0.0:
        return 0.0
    return worst / scale if scale > 0 and not math.isnan(worst) else float("inf")


def worst_error(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest :func:`relative_error` of a network's outputs; infinite for another number."""
    if len(actual) != len(expected):
        return float("inf")
    return max((relative_error(a, b) for a, b in zip(actual, expected, strict=True)), default=0.0)


def explained(actual: Tensor, expected: Tensor, inputs: list[Tensor]) -> bool:
    """Whether rounding explains the difference of one operator's value, given the same inputs."""
    error = relative_error(actual, expected)
    if error <= TOLERANCE:
        return True
    finite = expected[torch.isfinite(expected)] if expected.is_floating_point() else None
    if error == float("inf") or finite is None:
        return False
    largest = max((_largest(x) for x in inputs if x.is_floating_point()), default=0.0)
    return error * float(finite.abs().max()) <= CANCELLED * largest


def _largest(x: Tensor) -> float:
    finite = x[torch.isfinite(x)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def told(actual: Tensor, expected: Tensor) -> str:
    """What differs, in a few words."""
    if actual.shape != expected.shape or actual.dtype is not expected.dtype:
        return f"it is {_kind(actual)} instead of {_kind(expected)}"
    error = relative_error(actual, expected)
    if error == float("inf"):
        return "values differ that can have no rounding error"
    return f"it is off by {error:.2g} of the largest value"


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {'x'.join(map(str, value.shape))}".strip()
