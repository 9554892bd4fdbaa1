"""Boards, networks and trackers that fail while a tuner measures: real processes, real signals.

In each case: an end within a stated time, no record lost or invented, and a cause that is named.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.boards.farm import until
from tests.remote.lab import BOARD, QUICK, ROOT, Background, Lab, at_trial, freeze
from tests.tuning.faulty_family import CRASH, FAULTS, HANG, INPUT, UNWRITTEN, WRONG, workload
from tvm_flow.remote import client
from tvm_flow.remote.board_pool import Patience
from tvm_flow.support.address import parse_address
from tvm_flow.support.errors import BoardError
from tvm_flow.tuning.records.store import RecordStore


def test_board_killed_in_the_middle_comes_back(lab: Lab) -> None:
    board = lab.board()

    def reboot() -> None:
        board.kill()
        lab.later(1.5, lab.board)

    report = lab.tune(workload(), on_event=at_trial(4, reboot))
    assert report.total == 12
    assert not report.failures
    assert all(record.ok for record in lab.records())


def test_board_killed_for_good_ends_the_run_and_keeps_the_records(lab: Lab) -> None:
    board, start = lab.board(), time.monotonic()
    with pytest.raises(BoardError, match=r"no board 'lab\d+' is registered") as raised:
        lab.tune(workload(), on_event=at_trial(4, board.kill))
    assert time.monotonic() - start < 40
    assert "goes on from what is recorded" in raised.value.fix
    before = lab.records()
    assert len(before) >= 4
    assert all(record.ok for record in before)  # nobody was blamed for it
    lab.board()
    assert lab.tune(workload()).total == 12
    assert lab.records()[: len(before)] == before


def test_frozen_board_does_not_hold_the_tuner_for_ever(lab: Lab) -> None:
    board, start = lab.board(), time.monotonic()
    with pytest.raises(BoardError, match="No board"):
        lab.tune(workload(), on_event=at_trial(4, lambda: freeze(board)))
    assert time.monotonic() - start < 60
    assert all(record.ok for record in lab.records())


def test_frozen_board_that_thaws_is_used_again(lab: Lab) -> None:
    board = lab.board()

    def nap() -> None:
        freeze(board)
        lab.later(3, lambda: freeze(board, signal.SIGCONT))

    report = lab.tune(workload(), on_event=at_trial(4, nap))
    assert report.total == 12
    assert not report.failures


@pytest.mark.parametrize(
    "fault",
    [CRASH, HANG, WRONG, *(pytest.param(f, marks=pytest.mark.slow) for f in (UNWRITTEN, INPUT))],
)
def test_bad_candidates_are_recorded_and_the_board_survives(lab: Lab, fault: int) -> None:
    board = lab.board()
    # that a process has died is noticed late on a busy machine
    timeout_s = QUICK.trial_timeout_s if fault == HANG else 10.0
    report = lab.tune(workload(faults=fault), trials=6, trial_timeout_s=timeout_s)
    assert report.total == 6
    bad = [record for record in lab.records() if record.knobs["fault"]]
    assert bad
    assert {record.status for record in bad} == {FAULTS[fault]}
    assert all(record.ok for record in lab.records() if not record.knobs["fault"])
    assert board.running


def test_tracker_killed_and_restarted(own_lab: Lab) -> None:
    own_lab.board()

    def restart() -> None:
        own_lab.tracker.stop()
        own_lab.later(0.5, own_lab.tracker.start)

    patience = Patience(absent=60, taken=90)  # Python has to start
    report = own_lab.tune(workload(), on_event=at_trial(4, restart), patience=patience)
    assert report.total == 12
    assert not report.failures


def test_tracker_gone_is_named(own_lab: Lab) -> None:
    own_lab.board()
    with pytest.raises(BoardError, match="no tracker answers at"):
        own_lab.tune(workload(), on_event=at_trial(4, own_lab.tracker.stop))
    assert len(own_lab.records()) >= 4


def test_killed_tuner_leaves_the_board_free_and_is_resumed(lab: Lab) -> None:
    lab.board()
    script = Path(__file__).with_name("tune_affine_on_board.py")
    process = subprocess.Popen(
        [sys.executable, script, lab.folder, lab.tracker.address, lab.key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        for _ in range(5):
            assert process.stdout.readline().startswith("trial")
            process.stdin.write("\n")
            process.stdin.flush()
    finally:
        process.kill()
        process.communicate()
    before = lab.records()
    assert len(before) >= 4
    address = parse_address(lab.tracker.address)
    until(lambda: client.summary(address).free.get(lab.key), 20)
    report = lab.tune(workload(1 << 14), trials=len(before) + 4)
    assert report.measured == 4
    assert lab.records()[: len(before)] == before


def test_two_tuners_share_a_board(lab: Lab, tmp_path: Path) -> None:
    lab.board()
    other = tmp_path / "other" / BOARD.log_name
    totals: list[int] = []
    second = Background(lambda: totals.append(lab.tune(workload(), trials=8, folder=other).total))
    assert lab.tune(workload(), trials=8).total == 8
    second.join()
    assert totals == [8]
    assert len([r for r in RecordStore(other).records if r.stage == "search"]) == 8


def test_boards_of_one_key_work_at_the_same_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    # These boards share their cores: now and then one is noisy, and would rightly be set aside.
    monkeypatch.setattr("tvm_flow.remote.bench.judged", list)
    boards = [lab.board(), lab.board()]
    assert lab.tune(workload(), trials=24).total == 24
    for board in boards:
        assert board.log.count(" loads candidate") > 1


def test_garbage_does_not_impress_the_tracker(lab: Lab) -> None:
    for text in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x71\xf2\x02\x00\xff\xff\xff\x7f", b"\0" * 4096):
        with socket.create_connection(parse_address(lab.tracker.address), 5) as stranger:
            stranger.sendall(text)
    lab.board()
    until(lambda: client.summary(parse_address(lab.tracker.address)).of(lab.key))


def test_garbage_to_a_boards_port_does_not_disturb_a_run(lab: Lab) -> None:
    board = lab.board()

    def disturb() -> None:
        for text in (b"GET / HTTP/1.1\r\n\r\n", b"\x71\xf2\x0f\x00\xff\xff\xff\x7f", b"\0" * 4096):
            with socket.create_connection(board.address, 5) as stranger:
                stranger.sendall(text)

    report = lab.tune(workload(), trials=10, on_event=at_trial(3, disturb))
    assert report.total == 10
    assert not report.failures
    assert "it is no RPC client" in board.log


def test_something_else_at_the_trackers_address_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = parse_address(f"127.0.0.1:{mute.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(client.TrackerGone, match="something else listens there"):
            client.summary(address, 1.0)
        assert time.monotonic() - start < 5
