"""Summaries of times and of numerical differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Timing:
    """Median and 10th/90th percentile in milliseconds over ``runs`` single runs or rounds."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    runs: int

    def to_json(self) -> dict[str, float]:
        return {"median_ms": self.median_ms, "p10_ms": self.p10_ms, "p90_ms": self.p90_ms}

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.3f} ms median (p10 {self.p10_ms:.3f}, p90 {self.p90_ms:.3f}, "
            f"{self.runs} runs)"
        )


def summarise(seconds: Sequence[float]) -> Timing:
    """Summary of a non-empty list of times in seconds."""
    low, middle, high = np.percentile(np.asarray(seconds) * 1e3, [10, 50, 90])
    return Timing(float(middle), float(low), float(high), len(seconds))


def max_rel_error(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Largest absolute difference as a fraction of the largest expected magnitude.

    A per-element ratio would blow up on the outputs that happen to be near zero; what matters for
    logits is the difference on their own scale. NaN in ``actual`` gives ``inf``.
    """
    scale = max(float(np.max(np.abs(expected))), float(np.finfo(np.float32).tiny))
    worst = float(np.max(np.abs(actual.astype(np.float64) - expected)))
    return worst / scale if np.isfinite(worst) else float("inf")


def worst_rel_error(actual: Iterable[NDArray[Any]], expected: Iterable[NDArray[Any]]) -> float:
    """The largest :func:`max_rel_error` of a network's outputs, which must be as many as expected
    and of the same shapes: broadcasting would compare what does not belong together."""
    errors = []
    for found, wanted in zip(actual, expected, strict=True):
        if found.shape != wanted.shape:
            raise ValueError(f"an output has shape {found.shape}, {wanted.shape} was expected")
        errors.append(max_rel_error(found, wanted))
    return max(errors)
