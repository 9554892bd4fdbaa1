"""PyTorch's test databases: what becomes of each case is what the committed table says.

See :mod:`tests.suites`; after an intended change ``python -m tests.suites NAME --update``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites import table
from tests.suites.cases import BADLY, RIGHT, WRONG, Outcome
from tests.suites.own_process import run

NAMES = ("torch_modules", "torch_operators")
#: How many cases are to be right, of how many.
BAR = {"torch_modules": (620, 723), "torch_operators": (1650, 2191)}


def test_sample(tmp_path: Path) -> None:
    expected: dict[str, Outcome] = {}
    for name in NAMES:
        whole = table.read(name)
        expected |= {key: whole[key] for key in table.sample(whole, 8)}
    found = run("torch", tmp_path, expected, timeout_s=300)
    assert not table.differences(expected, found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_everything(name: str, tmp_path: Path) -> None:
    assert not table.differences(table.read(name), run(name, tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong(name: str) -> None:
    counts = table.counts(table.read(name))
    assert (counts[WRONG], counts[BADLY]) == (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_enough_is_right(name: str) -> None:
    counts, (right, cases) = table.counts(table.read(name)), BAR[name]
    assert counts[RIGHT] / sum(counts.values()) >= right / cases
