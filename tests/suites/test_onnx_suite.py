"""The ONNX backend suite: what becomes of each case is what the committed table says.

See :mod:`tests.suites`; after an intended change ``python -m tests.suites onnx --update``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.suites import table
from tests.suites.cases import BADLY, RIGHT, WRONG, Outcome
from tests.suites.onnx_cases import EXPANDED

ROOT = Path(__file__).parents[2]
NAME = "onnx"
#: Right ones that there are to be at least: plain, expanded.
BAR = (800, 290)


def run(folder: Path, *arguments: str, timeout_s: int) -> dict[str, Outcome]:
    """In a process of its own, without threads: it forks."""
    found = folder / "found.json"
    subprocess.run(
        [sys.executable, "-m", "tests.suites", NAME, "--json", str(found), *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=timeout_s, check=False,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    rows = map(json.loads, found.read_text().splitlines())
    return {row["key"]: Outcome(row["kind"], row["why"]) for row in rows}


def test_sample(tmp_path: Path) -> None:
    expected = table.read(NAME)
    keys = table.sample(expected, 8)
    file = tmp_path / "keys"
    file.write_text("\n".join(keys))
    found = run(tmp_path, "--keys", str(file), timeout_s=300)
    assert not table.differences({key: expected[key] for key in keys}, found)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everything(tmp_path: Path) -> None:
    assert not table.differences(table.read(NAME), run(tmp_path, timeout_s=3600))


def test_nothing_is_wrong() -> None:
    outcomes = table.read(NAME)
    counts = table.counts(outcomes)
    assert (counts[WRONG], counts[BADLY]) == (0, 0)
    for expanded, least in enumerate(BAR):
        part = {k: o for k, o in outcomes.items() if (EXPANDED in k) == bool(expanded)}
        assert table.counts(part)[RIGHT] >= least
