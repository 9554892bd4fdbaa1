"""The Python side: names, cheapness of the import, modules as models, choice of records."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tvm_flow
from tvm_flow import targets
from tvm_flow.api import boards
from tvm_flow.api.boards import committed_root, records_of, records_root, store_of
from tvm_flow.api.choose import RecordChooser
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.support.errors import EnvironmentFault, ModelError, UsageError
from tvm_flow.support.resources import checkout
from tvm_flow.targets import Board
from tvm_flow.tuning.records.record import Record
from tvm_flow.tuning.records.store import RecordStore

POOL = Workload(Problem.make("global_pool", n=1, h=7, w=7, c=64), "direct")


class Pooled(nn.Module):
    """(N, 3, 12, 12) -> (N, 24)."""

    example_input_shape = (1, 3, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)).mean((2, 3))


def test_import_is_cheap() -> None:
    code = (
        "import sys, tvm_flow\n"
        "heavy = {'tvm', 'torch', 'numpy', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert 'compile' in dir(tvm_flow)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=checkout())


def test_verbs_stay_functions() -> None:
    """``compare`` and ``profile`` are also names of submodules, which must not get in the way."""
    import tvm_flow.report.compare  # noqa: PLC0415
    import tvm_flow.report.profile  # noqa: PLC0415

    for name in ("trace", "tune", "compile", "run", "load", "check", "compare", "profile"):
        function = getattr(tvm_flow, name)
        assert callable(function)
        assert function.__doc__
        assert "return" in function.__annotations__
    with pytest.raises(AttributeError, match="no attribute 'teach'"):
        _ = tvm_flow.teach


def test_a_module_as_model(tmp_path: Path) -> None:
    model = Pooled().eval()
    report = tvm_flow.trace(model)
    assert (report.model, report.input_shape) == ("Pooled", (1, 3, 12, 12))
    made = tvm_flow.compile(
        tvm_flow.Model(model, input_shape=(2, 3, 9, 13)),
        output=tmp_path / "pooled",
        threads=1,
        records=tmp_path,
    )
    assert (made.tuned, made.verified is not None) == (0, True)
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 13), np.float32)
    bundle = tvm_flow.load(made)
    with torch.inference_mode():
        np.testing.assert_allclose(bundle(x), model(torch.from_numpy(x)), rtol=1e-4, atol=1e-5)
    assert len(tvm_flow.run(bundle, x, top=3).top) == 3


def test_a_module_has_its_weights() -> None:
    with pytest.raises(UsageError, match="already has some"):
        tvm_flow.trace(tvm_flow.Model(Pooled(), weights="w.safetensors"))
    broken = Pooled()
    nn.init.constant_(broken.conv.bias, float("inf"))
    with pytest.raises(ModelError, match=r"conv\.bias"):
        tvm_flow.trace(broken)


def test_where_records_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TVM_FLOW_RECORDS", raising=False)
    board = targets.load("rk3399")
    root = checkout()
    assert root is not None
    assert records_of(board) == root / "tuning_logs" / "rk3399"
    assert committed_root() is None, "one folder, read once"
    monkeypatch.setenv("TVM_FLOW_RECORDS", str(tmp_path))
    assert records_root() == tmp_path
    assert records_of(board, "mine") == Path("mine/rk3399")


def test_where_records_are_without_a_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The installed ones are read first, the user's own after them, and only those written to."""
    monkeypatch.delenv("TVM_FLOW_RECORDS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    board = targets.load("rk3399")
    committed = len(store_of(board))
    monkeypatch.setattr(boards, "checkout", lambda: None)
    store = store_of(board)
    assert (len(store), store.notes) == (committed, [])
    assert store.directory == tmp_path / "tvm-flow" / "tuning_logs" / "rk3399"
    assert not store.directory.exists()
    assert store.committed is not None
    before = sorted(path.name for path in store.committed.iterdir())
    with store.writing():
        store.add(trial({}, 1e-3))
    assert sorted(path.name for path in store.committed.iterdir()) == before
    again = store_of(board)
    assert len(again) == committed + 1 > 1
    assert again.records[-1] == trial({}, 1e-3)
    assert (store_of(board, tmp_path / "mine").committed, len(store_of(board, "mine"))) == (None, 0)
    monkeypatch.setenv("TVM_FLOW_RECORDS", str(tmp_path / "mine"))
    assert len(store_of(board)) == 0


def test_no_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TVM_FLOW_RECORDS", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr(boards, "checkout", lambda: None)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(EnvironmentFault, match=r"no home folder.*export XDG_DATA_HOME="):
        records_root()
    assert records_root("mine") == Path("mine")


def choice(folder: Path, board: Board, *records: Record) -> tuple[RecordChooser, Record | None]:
    """A chooser over ``records``, and which of them it takes for :data:`POOL`."""
    store = RecordStore(folder, "test")
    with store.writing():
        for record in records:
            store.add(record)
    chooser = RecordChooser(store, board, CPU)
    taken = chooser(POOL)
    assert chooser(POOL) is taken
    return chooser, next((r for r in records if r.sha == taken.record_sha), None)


def trial(knobs: dict[str, int], seconds: float, **more: str) -> Record:
    return Record.of(POOL, knobs, 1, "ok", seconds, seconds, seconds, **more)


def test_choice_of_records(tmp_path: Path) -> None:
    board = dataclasses.replace(targets.load("rk3399"), threads=1)
    algorithm, cpu = registry.algorithm(POOL), cpu_of(board, board.threads)
    default = algorithm.default(POOL.problem, cpu)
    space = algorithm.space(POOL.problem, cpu)
    name = next(name for name, values in space.items() if len(values) > 1)
    other = {**default, name: next(v for v in space[name] if v != default[name])}
    stale = {**default, name: 12345}

    chooser, taken = choice(tmp_path / "none", board)
    assert taken is None
    assert chooser(POOL).source == "default"
    assert chooser(POOL).knobs == default

    slow, fast = trial(default, 2e-3), trial(other, 1e-3)
    assert choice(tmp_path / "best", board, slow, fast)[1] == fast

    for_two = dataclasses.replace(fast, threads=2)
    chooser, taken = choice(tmp_path / "two", board, for_two)
    assert taken == for_two
    assert chooser(POOL).seconds is None, "the time of two threads is not that of one"
    assert choice(tmp_path / "one", board, slow)[0](POOL).seconds == slow.seconds

    chooser, taken = choice(tmp_path / "stale", board, slow, trial(stale, 1e-6))
    assert taken == slow, "a knob the space no longer has is never used"

    modelled = trial(other, 1e-6, label="modelled")
    assert choice(tmp_path / "label", board, slow, modelled)[1] == slow, "measured is trusted more"
    assert choice(tmp_path / "modelled", board, modelled)[1] == modelled
    assert choice(tmp_path / "emulated", board, trial(other, 1e-6, label="emulated"))[1] is None
