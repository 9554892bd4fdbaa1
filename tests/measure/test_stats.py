"""Summaries of numerical differences."""

from __future__ import annotations

import numpy as np
import pytest

from tvm_flow.measure.stats import worst_rel_error


def test_the_worst_of_all_outputs_counts() -> None:
    right, off = np.full((2, 3), 4.0, np.float32), np.full((2, 3), 5.0, np.float32)
    assert worst_rel_error([right, right], [right, right]) == 0
    assert worst_rel_error([right, off], [right, right]) == pytest.approx(0.25)
    assert worst_rel_error([right * np.nan], [right]) == float("inf")
    assert worst_rel_error([right], [right * np.nan]) == float("inf")
    assert worst_rel_error([right * np.nan], [right * np.nan]) == 0
    assert worst_rel_error([right[:0]], [right[:0]]) == 0


def test_what_does_not_belong_together_is_not_compared() -> None:
    one, row = np.ones((1, 3), np.float32), np.ones((1, 1), np.float32)
    with pytest.raises(ValueError, match="has shape"):
        worst_rel_error([row], [one])  # would broadcast
    with pytest.raises(ValueError, match="zip"):
        worst_rel_error([one], [one, one])
