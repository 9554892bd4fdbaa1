"""The ONNX backend suite: what becomes of each case is what the committed table says.

See :mod:`tests.suites`; after an intended change ``python -m tests.suites onnx --update``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites import table
from tests.suites.cases import BADLY, RIGHT, WRONG
from tests.suites.onnx_cases import EXPANDED
from tests.suites.own_process import run

NAME = "onnx"
#: Right ones that there are to be at least: plain, expanded.
BAR = (800, 290)


def test_sample(tmp_path: Path) -> None:
    expected = table.read(NAME)
    keys = table.sample(expected, 8)
    found = run(NAME, tmp_path, keys, timeout_s=300)
    assert not table.differences({key: expected[key] for key in keys}, found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything(tmp_path: Path) -> None:
    assert not table.differences(table.read(NAME), run(NAME, tmp_path))


def test_nothing_is_wrong() -> None:
    outcomes = table.read(NAME)
    counts = table.counts(outcomes)
    assert (counts[WRONG], counts[BADLY]) == (0, 0)
    for expanded, least in enumerate(BAR):
        part = {k: o for k, o in outcomes.items() if (EXPANDED in k) == bool(expanded)}
        assert table.counts(part)[RIGHT] >= least
