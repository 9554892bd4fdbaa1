"""Cases that crash, hang or raise cost one case each, and a change of any shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.suites import table, workers
from tests.suites.cases import BADLY, REFUSED, RIGHT, WRONG, Case, Entry, Outcome
from tests.suites.judge import differs, refusal
from tvm_flow.support.errors import CompileError, ImportUnsupportedError, ModelError, NumericsError

ROOT = Path(__file__).parents[2]


def _crash(_folder: Path) -> Outcome:
    os.abort()


def _hang(_folder: Path) -> Outcome:
    while True:
        pass


def _raise(_folder: Path) -> Outcome:
    raise KeyError("lost")


def _right(folder: Path) -> Outcome:
    assert not list(folder.iterdir())
    return Outcome(RIGHT)


class Awkward:
    name = "awkward"

    def entries(self) -> list[Entry]:
        ends = {"crash": _crash, "hang": _hang, "raise": _raise, "none": lambda _: None}
        return [
            Entry("a", lambda: iter([Case(f"a/{key}", end) for key, end in ends.items()])),
            Entry("broken", lambda: (_ for _ in [1]).throw(ValueError("no samples"))),
            Entry("b", lambda: iter([Case("b/1", _right), Case("b/2", _right)])),
        ]


def main() -> None:
    workers.TIMEOUT_S = 1.0
    for key, outcome in workers.run(Awkward()).items():
        print(key, outcome.kind, outcome.why)


def test_workers() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tests.suites.test_suite_machinery import main; main()"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    kinds = dict(line.split()[:2] for line in done.stdout.splitlines())
    assert kinds == {
        "a/crash": BADLY, "a/hang": BADLY, "a/raise": BADLY, "broken": BADLY,
        "b/1": RIGHT, "b/2": RIGHT,
    }  # fmt: skip
    assert "KeyError" in done.stdout


def test_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_FOLDER", tmp_path)
    outcomes = {"b/1": Outcome(REFUSED, "no  such\noperator"), "a/1": Outcome(RIGHT)}
    table.write("t", outcomes)
    assert table.path_of("t").read_text() == "a/1 right\nb/1 refused no such operator\n"
    known = table.read("t")
    assert table.counts(known) == {RIGHT: 1, REFUSED: 1, BADLY: 0, WRONG: 0}
    assert table.differences(known, outcomes) == []
    changed = {"a/1": Outcome(WRONG, "off"), "c/1": Outcome(RIGHT)}
    assert table.differences(known, changed) == [
        "a/1: right -> wrong off", "b/1: refused -> no case", "c/1: no case -> right",
    ]  # fmt: skip


def test_sample() -> None:
    outcomes = {f"a/{n}": Outcome(RIGHT if n % 2 else REFUSED) for n in range(100)}
    keys = table.sample(outcomes, 8)
    assert len(keys) == 8
    assert keys == table.sample(outcomes, 8)
    assert sum(outcomes[key].kind == REFUSED for key in keys) == 2


def test_judge() -> None:
    x = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    assert differs([x], [x]) == ""
    assert differs([x], [x.astype(np.float64)])
    assert differs([x], [x[None]])
    assert differs([x], [-x])
    assert differs([x], [np.array([1.0, 0.0, np.inf, -np.inf], np.float32)])
    assert differs([np.array([1.0, np.nan])], [np.array([1.0, 2.0])])
    assert differs([x, x], [x])
    assert not differs([np.array([1.00001, 3.0])], [np.array([1.0, 3.0])])
    assert differs([np.array([1.01, 3.0])], [np.array([1.0, 3.0])])
    assert differs([np.array([1, 2])], [np.array([1, 3])])


def test_refusals() -> None:
    assert refusal(ModelError("The model is random")).kind == REFUSED
    assert refusal(ImportUnsupportedError("The import of x is wrong")).kind == WRONG
    assert refusal(CompileError("the pass p changes what m computes")).kind == WRONG
    assert refusal(NumericsError("wrong numbers")).kind == WRONG
    assert refusal(CompileError("cannot compile m")).kind == BADLY
    assert refusal(ImportUnsupportedError("TVM cannot compile relax.x")).kind == BADLY
