"""How far the cores are from each other: measured where it can be, watched, and told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.bundle.modules import Tiny
from tvm_flow.cli.compare import show
from tvm_flow.measure.core_distance import cache_line_ns, spread_complaint
from tvm_flow.measure.rounds import Measurement, Round, measurement
from tvm_flow.measure.timing import Contestant, interleaved
from tvm_flow.report.compare import compare

CORES = sorted(os.sched_getaffinity(0))
BUSY = Contestant("tests.measure.contestants:busy", {"milliseconds": 1})
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


@two_cores
def test_a_line_takes_some_time_and_leaves_nothing_behind() -> None:
    """Again where other load had the cores: the tests beside this one may."""
    tasks = len(os.listdir("/proc/self/task"))
    found = next(value for _ in range(50) if (value := cache_line_ns(CORES)) is not None)
    assert 0 < found < 1e6
    assert sorted(os.sched_getaffinity(0)) == CORES
    assert len(os.listdir("/proc/self/task")) <= tasks


@two_cores
def test_it_ends_beside_programs_that_have_the_cores() -> None:
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in CORES * 2]
    try:
        found = [cache_line_ns(CORES[:2]) for _ in range(3)]
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    assert all(value is None or 0 < value < 1e6 for value in found)


def test_nothing_to_measure() -> None:
    assert cache_line_ns([]) is None
    assert cache_line_ns(CORES[:1]) is None
    assert cache_line_ns([CORES[0], 1023]) is None, "there is no such core"
    assert cache_line_ns([CORES[0], -1]) is None


@pytest.mark.parametrize("broken", ["no compiler", "no cache"])
def test_it_is_left_out_where_it_cannot_be_compiled(tmp_path: Path, broken: str) -> None:
    cache = tmp_path / "cache"
    code = "from tvm_flow.measure.core_distance import cache_line_ns; print(cache_line_ns([0, 1]))"
    if broken == "no compiler":
        code = f"import sys; sys.modules['ziglang'] = None; {code}"
    else:
        cache.write_text("a file where a folder should be")
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "None"


def test_one_place_is_told_from_two() -> None:
    assert spread_complaint([]) is None
    assert spread_complaint([210.0]) is None
    assert spread_complaint([39.0, 66.0, 41.0]) is None
    assert "took 61 to 211 ns" in str(spread_complaint([61.2, 60.9, 210.6]))


def _measured(values: Sequence[float]) -> Measurement:
    return measurement(["a"], [Round(times={"a": [1.0, 2.0]})], [], 1, values)


def test_cores_that_were_moved_make_it_invalid() -> None:
    steady, moved = _measured([61.04, 64]), _measured([61, 210])
    assert (steady.valid, steady.reason) == (True, "")
    assert steady.cache_line_ns == (61.0, 64)
    assert not moved.valid
    assert moved.reason.startswith("the cores were moved apart or together during the run")
    assert _measured([]).valid


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=two_cores)])
def test_a_race_measures_before_each_round_and_after_the_last(threads: int) -> None:
    inputs = {"a": np.ones(1, np.float32)}
    measured = interleaved({"a": BUSY}, inputs, rounds=2, threads=threads, round_s=0.02)
    if threads == 1:
        assert measured.cache_line_ns == ()
    elif measured.valid and not measured.disturbed_rounds:
        assert len(measured.cache_line_ns) == 3
    assert all(0 < value < 1e6 for value in measured.cache_line_ns)
    assert measured.valid == (not measured.reason)


@two_cores
def test_a_comparison_of_two_threads_says_it(pristine: Path) -> None:
    one, two = compare(Tiny(), pristine, threads=(1, 2), rounds=2, round_s=0.02)
    assert json.loads(json.dumps(one.to_json()))["cache_line_ns"] == []
    assert json.loads(json.dumps(two.to_json()))["cache_line_ns"] == list(two.cache_line_ns)
    assert "cache line" not in _shown(one)
    values = two.cache_line_ns
    told = f"({min(values):.0f}-{max(values):.0f} over" if values else "was not measured"
    assert told in _shown(two)
    assert "a cache line" in _shown(two)


def _shown(result: object) -> str:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(*show(result))
    return " ".join(capture.get().split())
