"""Interleaved timing: order, isolation, and that disturbed measurements say so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from tvm_flow.measure.load_probe import LoadProbe, Snapshot, clock_complaint
from tvm_flow.measure.timing import Contestant, Race, interleaved, quiet_cores
from tvm_flow.support.errors import MeasurementError, ModelError, UsageError

INPUT = np.ones((2, 2), np.float32)


def _busy(milliseconds: float) -> Contestant:
    return Contestant("tests.measure.contestants:busy", {"milliseconds": milliseconds})


def test_ratio_of_known_times() -> None:
    """On a core that others use as well: runs far shorter than a turn of the scheduler's, so that
    many are not interrupted. Other load can only lengthen a run; the quickest are right."""
    inputs = {"slow": INPUT, "fast": INPUT}
    contestants = {"slow": _busy(0.8), "fast": _busy(0.2)}
    measured = interleaved(contestants, inputs, rounds=5, round_s=0.1)
    ratio = measured.ratio("slow", "fast")
    assert measured.valid == (not measured.reason)
    assert measured.timings["fast"].p10_ms == pytest.approx(0.2, rel=0.1)
    assert measured.timings["slow"].p10_ms == pytest.approx(0.8, rel=0.1)
    assert ratio.p10 <= ratio.median <= ratio.p90
    if measured.valid:
        assert ratio.median == pytest.approx(4, rel=0.1)


def test_each_runs_alone_on_the_chosen_cores() -> None:
    with Race({"a": _busy(1), "b": _busy(1)}, threads=1) as race:
        ((cores, threads, omp, total),) = race.outputs_of("a", INPUT)
        assert (cores, threads, omp, total) == (1, 1, 1, 4)
        for worker in race.workers.values():
            status = Path(f"/proc/{worker.probe.pid}/status").read_text()
            assert "State:\tT (stopped)" in status
        pids = [worker.probe.pid for worker in race.workers.values()]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_stopped_ones_end_with_whoever_timed_them() -> None:
    code = (
        "import time\n"
        "from tests.measure.test_timing import _busy\n"
        "from tvm_flow.measure.timing import Race\n"
        "race = Race({'a': _busy(1), 'b': _busy(1)}, threads=1).__enter__()\n"
        "print(*(worker.probe.pid for worker in race.workers.values()), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    stopped = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert [process.status() for process in stopped] == [psutil.STATUS_STOPPED] * 2
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(stopped, 10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def other_load() -> Iterator[None]:
    """One busy process pinned to each core this process may use."""
    code = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    cores = os.sched_getaffinity(0)
    hogs = [subprocess.Popen([sys.executable, "-c", code, str(core)]) for core in cores]
    yield
    for hog in hogs:
        hog.kill()
        hog.wait()


@pytest.mark.usefixtures("other_load")
def test_other_load_makes_it_invalid() -> None:
    measured = interleaved({"a": _busy(2)}, {"a": INPUT}, rounds=2, round_s=0.3)
    assert not measured.valid
    assert measured.disturbed_rounds > 0
    assert "disturbed" in measured.reason
    assert "other load" in measured.reason


def _snapshot(at: float, **changes: float) -> Snapshot:
    base = dict.fromkeys(("busy", "stolen", "own", "waited", "others", "throttled", "clock_khz"), 0)
    return Snapshot(at=at, **{**base, **changes})


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (_snapshot(1, busy=1.0, own=1.0), ""),
        (_snapshot(1, waited=0.02), ""),
        (_snapshot(1, waited=0.2), ""),  # for its own threads
        (_snapshot(1, waited=0.2, others=0.5), "20 % waiting"),
        (_snapshot(1, waited=0.2, others=0.1), "10 % waiting"),
        (_snapshot(1, waited=0.2, busy=1.0, own=0.5), "20 % waiting"),  # of unseen processes
        (_snapshot(1, waited=0.01, others=0.9), ""),  # on other cores
        (_snapshot(1, stolen=0.3), "hypervisor took 30 %"),
        (_snapshot(1, throttled=2), "throttling"),
    ],
)
def test_complaints(after: Snapshot, complaint: str) -> None:
    found = LoadProbe([0], os.getpid()).complaints(_snapshot(0), after)
    assert len(found) == bool(complaint)
    assert complaint in "".join(found)


def test_complaints_without_the_scheduler_statistics() -> None:
    probe = LoadProbe([0], os.getpid())
    before = _snapshot(0, waited=None)
    assert probe.complaints(before, _snapshot(1, busy=1.0, own=0.99, waited=None)) == []
    found = probe.complaints(before, _snapshot(1, busy=1.0, own=0.6, waited=None))
    assert "other load on the cores (40 % of one core)" in found


def test_clock_changes() -> None:
    assert clock_complaint([None, None]) is None
    assert clock_complaint([1800_000, 1790_000]) is None
    assert "1200 and 1800 MHz" in str(clock_complaint([1800_000, None, 1200_000]))


def test_failures_of_a_competitor_arrive_here() -> None:
    for name, kind, text in (
        ("failing", ModelError, "no such model for 1 thread"),
        ("crashing", MeasurementError, "ended with status 1"),
        ("missing", MeasurementError, "AttributeError"),
    ):
        contestants = {"good": _busy(1), "bad": Contestant(f"tests.measure.contestants:{name}")}
        with pytest.raises(kind, match=text), Race(contestants):
            pass


def test_arguments() -> None:
    with pytest.raises(UsageError, match="thread"):
        quiet_cores(999)
    with Race({"a": _busy(1)}) as race, pytest.raises(UsageError, match="rounds"):
        race.measure(0)
