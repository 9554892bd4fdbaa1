"""The tuner from end to end, with real workers and kernels that fail in every way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import faulty_family
import psutil
import pytest
from faulty_family import workload

from tvm_flow import targets
from tvm_flow.ir.tasks import Task
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.support.errors import RecordError, TuningError, UsageError
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import freeze
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search.report import TuneEvent, TuneReport
from tvm_flow.tuning.search.tuner import tune_tasks

BOARD = targets.load("native")
VALID = 25  # of the 30 choices of knobs of an affine workload
QUICK = TuneOptions(trial_budget_s=0.003, trial_timeout_s=1.0, final_rounds=5)
SCRIPT = Path(__file__).with_name("tune_affine.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / BOARD.log_name


def tune(folder: Path, *tasks: Workload | Task, **options: object) -> TuneReport:
    listed = [task if isinstance(task, Task) else Task(task) for task in tasks]
    arguments = {"early_stop": None, "options": QUICK, **options}
    return tune_tasks(listed, BOARD, store=RecordStore(folder), **arguments)


def searched(folder: Path) -> list[tuple[str, frozenset]]:
    """What was tried, in order; the closing comparison left out."""
    records = RecordStore(folder).records
    return [(r.workload, r.frozen_knobs) for r in records if r.stage == "search"]


def test_small_space_is_tried_whole_and_the_best_confirmed(folder: Path) -> None:
    events: list[TuneEvent] = []
    work = workload(1 << 14)
    report = tune(folder, Task(work, 3, ("layer",)), on_event=events.append)
    (task,) = report.tasks
    assert (report.measured, report.skipped, report.total) == (VALID, 5, VALID)
    assert task.state == "whole space tried"
    assert task.best_knobs["waste"] == 1
    assert task.speedup > 2
    assert report.default_latency_s == pytest.approx(3 * task.default_s)
    assert report.best_latency_s == pytest.approx(3 * task.best_s)
    assert task.gflops == pytest.approx(2e-9 * (1 << 14) / task.best_s)
    store = RecordStore(folder)
    assert store.best(work, 1).knobs == task.best_knobs
    assert store.best(work, 1).stage == "final"
    finals = [r for r in store.records if r.stage == "final"]
    assert {"step": 1, "waste": 8, "fault": 0} in [r.knobs for r in finals]  # the default too
    assert task.best_knobs == min(finals, key=lambda r: r.seconds).knobs
    assert [e.kind for e in events] == ["start", *["trial"] * VALID, "final", "stop"]
    assert events[-1].report.phase == "done"


def test_first_trial_is_the_default_of_every_task(folder: Path) -> None:
    works = [workload(n) for n in (1024, 2048, 4096, 8192)]
    report = tune(folder, *works, trials=6)
    assert report.measured == 6
    first = searched(folder)[:4]
    assert first == [(w.key, freeze({"step": 1, "waste": 8, "fault": 0})) for w in works]
    assert all(task.default_s for task in report.tasks)


@pytest.mark.parametrize("fault", [faulty_family.CRASH, faulty_family.WRONG, faulty_family.BROKEN])
def test_faulty_candidates_are_counted_and_never_win(folder: Path, fault: int) -> None:
    report = tune(folder, workload(faults=fault), trials=16)
    status = faulty_family.FAULTS[fault]
    assert report.failures[status] >= 3
    assert set(report.failures) == {status}
    assert report.tasks[0].best_knobs["fault"] == 0
    for record in RecordStore(folder).records:
        assert record.ok == (record.knobs["fault"] == 0)
        assert bool(record.cause) != record.ok


def test_resume_goes_on_where_it_was_and_repeats_nothing(folder: Path) -> None:
    work = workload(1 << 15)
    assert tune(folder, work, trials=6).measured == 6
    again = tune(folder, work, trials=6)
    assert (again.measured, again.total) == (0, 6)
    more = tune(folder, work, trials=10)
    assert (more.measured, more.total) == (4, 10)
    whole = tune(folder, work)
    assert whole.total == VALID
    tried = searched(folder)
    assert len(tried) == len(set(tried)) == VALID


def test_early_stop(folder: Path) -> None:
    work = workload(1 << 15)  # long enough that noise is no gain
    report = tune(folder, work, early_stop=3)
    assert report.tasks[0].state.startswith("no gain in")
    assert report.measured < VALID
    again = tune(folder, work, early_stop=3)
    assert again.measured == 0  # it was over, and still is


def test_time_limit(folder: Path) -> None:
    began = time.monotonic()
    works = [workload(n) for n in range(1 << 12, 1 << 13, 1 << 7)]
    report = tune(folder, *works, minutes=0.05)
    assert report.stopped == "time is up"
    assert 0 < report.measured < len(works) * VALID
    assert time.monotonic() - began < 15


def test_nothing_measured_is_an_error(folder: Path) -> None:
    broken = workload(always=faulty_family.WRONG)
    impatient = replace(QUICK, give_up=6)
    with pytest.raises(TuningError, match="wrong_result: y is off by"):
        tune(folder, broken, options=impatient)
    tries = len(searched(folder))
    assert 6 <= tries <= 6 + 4  # some were on their way already
    fine = tune(folder, broken, workload(), trials=tries + 5, options=impatient)
    assert fine.tasks[0].state == "every trial failed"
    assert fine.tasks[0].best_s is None
    assert fine.best_latency_s is None


@pytest.mark.parametrize(
    "limits",
    [
        {"trials": 0},
        {"trials": -3},
        {"trials": 10**7},
        {"minutes": 0},
        {"minutes": float("nan")},
        {"minutes": 1e9},
        {"threads": 0},
        {"threads": 4096},
    ],
)
def test_senseless_limits_are_refused(folder: Path, limits: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        tune(folder, workload(), **limits)
    assert not folder.exists()


def test_senseless_tasks_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="Nothing to tune"):
        tune(folder)
    with pytest.raises(UsageError, match="no cpu schedule for operator 'frobnicate'"):
        tune(folder, Workload(Problem.make("frobnicate"), "direct"))
    foreign = replace(BOARD, arch="aarch64" if BOARD.arch == "x86_64" else "x86_64")
    with pytest.raises(UsageError, match="this machine is"):
        tune_tasks([Task(workload())], foreign, store=RecordStore(folder))


@contextmanager
def _affinity(count: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def test_one_core_builds_and_measures_by_turns(folder: Path) -> None:
    before = os.sched_getaffinity(0)
    with _affinity(1):
        report = tune(folder, workload(), trials=12)
    assert report.measured == 12
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_threads_have_their_own_records(folder: Path) -> None:
    tune(folder, workload(), trials=5)
    report = tune(folder, workload(), trials=5, threads=2)
    assert report.measured == 5
    assert {record.threads for record in RecordStore(folder).records} == {1, 2}


@contextmanager
def _tuner(folder: Path, trials: int = 50, faults: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A tuner in a process of its own; ended, with its workers, at the latest on leaving."""
    path = os.pathsep.join([str(SCRIPT.parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, SCRIPT, folder, str(trials), str(faults)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder.parent)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _until_measured(process: subprocess.Popen[str], count: int) -> None:
    for line in process.stdout:
        if line.startswith("trial") and int(line.split()[1]) >= count:
            return
    pytest.fail("the tuner ended before it was interrupted")


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_killed_tuner_is_resumed_without_repeating(folder: Path) -> None:
    with _tuner(folder) as process:
        _until_measured(process, 8)
        workers = _workers(process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert workers
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)
    before = searched(folder)
    assert len(before) >= 8
    with open(folder / "local.jsonl", "ab") as log:
        log.write(b'{"kind":"trial","problem":"test_aff')  # as if cut off while writing
    report = tune(folder, workload(), workload(1 << 16), trials=len(before) + 8)
    after = searched(folder)
    assert report.measured == 8
    assert after[: len(before)] == before
    assert len(set(after)) == len(after) == len(before) + 8
    assert (folder / "local.jsonl.torn").exists()


def test_ctrl_c_ends_workers_and_keeps_records(folder: Path) -> None:
    with _tuner(folder, faults=faulty_family.HANG) as process:
        _until_measured(process, 3)
        workers = _workers(process)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        assert process.wait(20) == 0
    assert rest[-1].split()[0::2] == ["stop", "True"]  # interrupted
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)
    assert len(RecordStore(folder)) >= 3


def test_second_tuner_is_refused_at_once(folder: Path) -> None:
    with _tuner(folder) as process:
        _until_measured(process, 1)
        with pytest.raises(RecordError, match=f"process {process.pid} is tuning"):
            tune(folder, workload())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_full_disk_stops_the_tuner_with_whole_records(tmp_path: Path) -> None:
    command = textwrap.dedent("""
        mount -t tmpfs -o size=12k tmpfs "$1" || exit 77
        exec "$2" "$3" "$1" 50 0
    """)
    path = os.pathsep.join([str(SCRIPT.parent), *sys.path])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", tmp_path, sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode == 77:
        pytest.skip("this machine does not let root mount")
    lines = done.stdout.splitlines()
    trials = sum(line.startswith("trial") for line in lines)
    assert "Cannot write the tuning records" in lines[-2]
    assert "free some space" in lines[-2]
    assert lines[-1] == f"readable: {trials}"
    assert trials > 3
