"""A race between processes: failures are kept apart, memory is each process's own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import psutil

from benchmarks.race import Peer, PeerRace, spinning
from tvm_flow.measure.timing import Contestant

HERE = "tests.benchmarks.stand_ins"
SAMPLE = np.full(3, 2.0, np.float32)


def peer(name: str, **options: float) -> Peer:
    return Peer(Path(sys.executable), Contestant(f"{HERE}:{name}", options))


def test_one_that_cannot_start_does_not_stop_the_others() -> None:
    peers = {
        "slow": peer("contestant", seconds=0.02),
        "broken": peer("broken"),
        "fast": peer("contestant", seconds=0.01),
        "absent": peer("nobody"),
    }
    with PeerRace(peers, SAMPLE, busy=True) as race:
        measured = race.measure(rounds=2, round_s=0.05)
    assert "no kernel for 1 thread(s)" in race.failures["broken"]
    assert "nobody" in race.failures["absent"]
    assert set(measured.timings) == {"slow", "fast"}
    assert measured.ratio("slow", "fast").median > 1.3
    np.testing.assert_array_equal(race.outputs["fast"], SAMPLE + 1)  # confined to one core


def test_peak_memory_is_that_of_the_process_alone() -> None:
    ballast = np.ones(400 * 2**17)  # of this process: must not be inherited
    peers = {"large": peer("hungry", mebibytes=200), "small": peer("contestant", seconds=0.001)}
    with PeerRace(peers, SAMPLE) as race:
        rss = race.peak_rss_bytes()
    assert ballast[0] == 1
    assert rss["small"] < 100 * 2**20
    assert rss["large"] - rss["small"] > 150 * 2**20


def test_spinning_keeps_just_that_core_busy() -> None:
    core = max(os.sched_getaffinity(0))
    with spinning(core):
        (child,) = psutil.Process().children()
        assert child.cpu_affinity() == [core]
    assert not child.is_running()
