"""``tune --runner modelled``, end to end: records, labels, faulty kernels, refusals."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.forked import NURSERY, Done
from tests.tuning import faulty_family
from tvm_flow import targets
from tvm_flow.api.choose import RecordChooser
from tvm_flow.backends import CPU
from tvm_flow.ir.tasks import Task
from tvm_flow.modelled import bench
from tvm_flow.modelled.bench import ModelledBench
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.support.errors import TuningError
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import Record
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search.tuner import tune_tasks

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
NET = f"{ROOT / 'tests/cli/user_models.py'}:net"
A72 = targets.load("rk3399")


def cli(*arguments: str | Path) -> Done:
    given = {**os.environ, "OMP_NUM_THREADS": "1"}
    return NURSERY.run(arguments, cwd=ROOT, environment=given, timeout_s=100)


@pytest.mark.system("model")
def test_records_of_the_command_line_say_modelled(tmp_path: Path) -> None:
    given = ("tune", NET, "--target", "rk3399", "--runner", "modelled", "--trials", "3")
    done = cli(*given, "--records", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["label"], report["measured"]) == ("modelled", 3)
    assert any("modelled, not measured" in note for note in report["notes"])
    records = RecordStore(tmp_path / "rk3399").records
    assert len(records) >= 3
    assert {record.label for record in records} == {"modelled"}
    assert all(record.ok for record in records)


def tune(folder: Path, work: Workload, trials: int) -> list[Record]:
    """Model a workload of the faulty algorithm; its records, oldest first."""
    store = RecordStore(folder / "rk3399")
    tune_tasks(
        [Task(work)], A72, store=store, trials=trials, bench=ModelledBench(),
        options=TuneOptions(final_rounds=3),
    )  # fmt: skip
    return store.records


@pytest.mark.system("model")
@pytest.mark.parametrize(
    "fault", [faulty_family.CRASH, faulty_family.WRONG, faulty_family.OUTSIDE, faulty_family.INPUT]
)
def test_nothing_wrong_gets_a_time(fault: int, tmp_path: Path) -> None:
    records = tune(tmp_path, faulty_family.workload(1 << 10, faults=fault), 8)
    bad = [record for record in records if record.knobs["fault"]]
    assert bad
    assert {record.status for record in bad} == {faulty_family.FAULTS[fault]}
    assert {record.status for record in records if not record.knobs["fault"]} == {"ok"}


@pytest.mark.system("model")
def test_a_kernel_that_never_ends_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "EMULATION_TIMEOUT_S", 2.0)
    with pytest.raises(TuningError, match="Not one kernel"):
        tune(tmp_path, faulty_family.workload(1 << 10, always=faulty_family.HANG), 2)
    records = RecordStore(tmp_path / "rk3399").records
    assert {record.status for record in records} == {"timeout"}
    emulators = [p for p in psutil.Process().children(recursive=True) if "qemu" in p.name()]
    assert not emulators


@pytest.mark.system("model")
def test_less_work_is_modelled_as_faster(tmp_path: Path) -> None:
    """The kernel does its work ``waste`` times over."""
    records = tune(tmp_path, faulty_family.workload(1 << 10), 12)
    times = {(r.knobs["step"], r.knobs["waste"]): r.seconds for r in records if r.ok}
    for (step, waste), seconds in times.items():
        for (other, more), longer in times.items():
            if step == other and more > waste:
                assert longer > seconds


def test_a_measured_record_goes_before_a_modelled_one(tmp_path: Path) -> None:
    workload = Workload(Problem.make("global_pool", n=1, h=7, w=7, c=64), "direct")
    store = RecordStore(tmp_path / "rk3399")
    with store.writing():
        for label, seconds in (("modelled", 1e-6), ("measured", 2e-6)):
            store.add(
                Record.of(
                    workload, _default(workload), 1, "ok", seconds, seconds, seconds,
                    label=label,
                )
            )  # fmt: skip
            chooser = RecordChooser(store, replace(A72, threads=1), CPU)
            assert chooser(workload).label == label
    on_two = RecordChooser(store, replace(A72, threads=2), CPU)
    assert on_two(workload).source == "default"
    assert on_two.notes == []
    assert on_two.remarks([workload]) == [
        "there are records for fewer than 2 threads: not used, tune with --threads 2 or compile "
        "for fewer"
    ]


def _default(workload: Workload) -> dict[str, int]:
    from tvm_flow.backends.cpu import cpu_of  # noqa: PLC0415
    from tvm_flow.schedules import registry  # noqa: PLC0415

    return registry.algorithm(workload).default(workload.problem, cpu_of(A72))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runner", "guessed", "--target", "rk3399"), "Unknown runner 'guessed'"),
        (("--runner", "modelled", "--target", "rk3399", "--threads", "2"), "not modelled"),
    ],
)
def test_refused_in_one_line(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = cli("tune", NET, *arguments, "--trials", "1", "--records", tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
