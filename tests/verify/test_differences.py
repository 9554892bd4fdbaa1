"""What counts as the same value."""

from __future__ import annotations

import pytest
import torch

from tvm_flow.verify.compare import explained, relative_error, told

NAN, INF = float("nan"), float("inf")


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_difference_is_taken_of_the_largest() -> None:
    assert relative_error(t(1, 4.5), t(1, 4)) == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        (t(NAN, 1), t(NAN, 1), True),
        (t(INF, 1), t(INF, 1), True),
        (t(INF, 1), t(-INF, 1), False),
        (t(NAN, 1), t(0, 1), False),
        (t(0, 1), t(NAN, 1), False),
        (t(0, 0), t(0, 0), True),
        (t(0, 1e-30), t(0, 0), False),
        (torch.tensor([1, 2]), torch.tensor([1, 2]), True),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), False),
        (torch.tensor([1, 2]), torch.tensor([1, 2], dtype=torch.int32), False),
        (torch.zeros(2, 1), torch.zeros(1, 2), False),
        (torch.zeros(0), torch.zeros(0), True),
    ],
)
def test_same(actual: torch.Tensor, expected: torch.Tensor, same: bool) -> None:
    assert (relative_error(actual, expected) == 0) is same
    assert explained(actual, expected, []) is same


def test_what_cancels_is_measured_by_what_it_came_from() -> None:
    assert explained(t(1e-4), t(0.9e-4), [t(1000.0)])
    assert not explained(t(1e-4), t(0.9e-4), [t(1.0)])


def test_it_says_what_differs() -> None:
    assert told(torch.zeros(2, 3), torch.zeros(3, 2)) == "it is float32 2x3 instead of float32 3x2"
    assert told(t(1.1), t(1.0)) == "it is off by 0.1 of the largest value"
