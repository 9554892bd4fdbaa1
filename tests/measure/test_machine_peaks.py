"""This machine's peaks: measured once, kept, plausible."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tvm_flow import targets
from tvm_flow.measure import machine_peaks as peaks
from tvm_flow.support.errors import UsageError

BOARD = targets.load("native")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, and less memory and time than a measurement that is to be believed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(peaks, "_SECONDS", 0.01)
    monkeypatch.setattr(peaks, "footprints", lambda board: (board.l1_bytes // 2, 1 << 22))


def test_measured_once_and_kept(tmp_path: Path) -> None:
    first = peaks.machine_peaks(BOARD)
    assert first.gflops > 1
    assert [size for size, _ in first.bandwidth] == [BOARD.l1_bytes // 2, 1 << 22]
    assert all(rate > 0.1 for _, rate in first.bandwidth)
    assert 0 < first.launch_s < 1e-3
    if len(BOARD.cores) > 1:
        assert first.fork_s > first.launch_s
    (kept,) = (tmp_path / "tvm-flow").glob("peaks-*/peaks.json")
    data = json.loads(kept.read_text())
    kept.write_text(json.dumps({**data, "gflops": 12345.0}))
    assert peaks.machine_peaks(BOARD).gflops == 12345.0
    assert peaks.machine_peaks(BOARD, again=True).gflops != 12345.0


def test_a_board_cannot_be_measured_here() -> None:
    with pytest.raises(UsageError, match="rk3399"):
        peaks.machine_peaks(targets.load("rk3399"))


def test_footprints_rise_from_within_l1_to_beyond_the_last_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    sizes = peaks.footprints(BOARD)
    assert all(low < high for low, high in pairwise(sizes))
    assert sizes[0] < BOARD.l1_bytes
    assert sizes[-1] > 2 * max(BOARD.l2_bytes, 1024 * BOARD.l3_kib)
