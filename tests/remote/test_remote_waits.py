"""Boards that cannot be had: used by others, set aside, or of another architecture."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.boards.farm import open_session, until
from tests.bundle.networks import write
from tests.forked import NURSERY
from tests.remote.lab import BOARD, ROOT, Lab, stock_server
from tests.tuning.faulty_family import workload
from tvm_flow import targets
from tvm_flow.boards.emulate import EmulatedBoard
from tvm_flow.remote import client
from tvm_flow.remote.board_pool import BoardPool, Patience
from tvm_flow.remote.compare import compare_on_board
from tvm_flow.support.address import parse_address
from tvm_flow.support.errors import BoardError

MODEL = "examples/digits/models.py:fasternet_digits"
FOREIGN = "rk3399" if BOARD.arch != "aarch64" else "native"


def test_a_comparison_says_that_it_waits_and_ends(lab: Lab, tmp_path: Path) -> None:
    lab.board(name="desk-5")
    bundle, told, start = write(tmp_path / "bundle"), [], time.monotonic()

    def hear(text: str) -> None:
        told.append((time.monotonic() - start, text))

    address = parse_address(lab.tracker.address)
    with open_session(lab.tracker, lab.key):
        until(lambda: [b for b in client.summary(address).of(lab.key) if b.busy])
        start = time.monotonic()
        with pytest.raises(BoardError, match=r"No board .* others use desk-5 \(by 127") as raised:
            compare_on_board(
                bundle, BOARD, address, lab.key, program=None, threads=1, runs=2,
                on_wait=hear, patience=Patience(absent=2, taken=4),
            )  # fmt: skip
    assert raised.value.exit_code == 11
    assert time.monotonic() - start < 15
    (seconds, text), *_ = told
    assert seconds < 3
    assert "waiting for a board, " in text
    assert "s more at most: others use desk-5 (by 127.0.0.1)" in text


def test_the_verb_waits_in_plain_sight_and_goes_on(lab: Lab) -> None:
    lab.board(name="desk-6")
    session = open_session(lab.tracker, lab.key)
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_flow", "boards", "check", lab.key, "--target", "native",
         "--tracker", lab.tracker.address, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert "waiting for a board, " in process.stderr.readline()
        session.close()
        out, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert '"desk-6"' in out


def test_a_board_that_stays_busy_is_told_as_not_checked(lab: Lab) -> None:
    lab.board(name="desk-7")
    with open_session(lab.tracker, lab.key):
        lab.board(name="desk-8")
        code, out, err = flow(
            "boards", "check", lab.key, "--target", "native", "--tracker", lab.tracker.address
        )
    assert code == 11, err
    words = " ".join(out.split())
    assert "desk-7 is not fit: it could not be checked, others use it" in words
    assert "desk-8 is not fit: it could not be checked" not in words


def test_boards_that_are_set_aside_do_not_keep_a_run_waiting(lab: Lab) -> None:
    board = lab.board()
    place = "{}:{}".format(*board.address)
    finder = BoardPool(
        parse_address(lab.tracker.address), lab.key, Patience(absent=3, taken=600),
        aside={place: "its times vary by 40 %"},
    )  # fmt: skip
    start = time.monotonic()
    with pytest.raises(BoardError, match=r"left is set aside: .* vary by 40 %"):
        finder.find()
    assert time.monotonic() - start < 15
    other = lab.board()
    assert finder.find().place == "{}:{}".format(*other.address)


def flow(*arguments: str) -> tuple[int, str, str]:
    done = NURSERY.run(arguments, cwd=ROOT, environment=dict(os.environ), timeout_s=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("verb", ["tune", "compare", "check"])
def test_a_board_of_another_architecture_is_named(lab: Lab, verb: str) -> None:
    """Whichever way round: this machine as a board of another kind, and the other way."""
    lab.board(name="desk-7")
    foreign, tracker = targets.load(FOREIGN), lab.tracker.address
    until(lambda: client.summary(parse_address(tracker)).of(lab.key))
    arguments = {
        "check": ("boards", "check", lab.key),
        "tune": ("tune", MODEL, "--key", lab.key, "--trials", "1"),
        "compare": ("compare", MODEL, "--key", lab.key),
    }[verb]
    code, out, error = flow(*arguments, "--target", FOREIGN, "--tracker", tracker)
    assert code == BoardError.exit_code, error
    said = " ".join((out + error).split())
    assert f"wrong architecture: expected {foreign.arch}, the board says {BOARD.arch}" in said
    assert "cannot open shared object" not in said


@pytest.mark.system("emulate")
def test_an_emulated_board_is_no_board_of_this_machine(lab: Lab) -> None:
    if BOARD.arch == "aarch64":
        pytest.skip("emulated boards are of this machine's architecture")
    with EmulatedBoard("rk3399", lab.tracker.address, key=lab.key):
        with pytest.raises(BoardError, match="expected x86_64, the board says aarch64"):
            lab.tune(workload(), trials=1)
        code, out, _ = flow(
            "boards", "check", lab.key, "--target", "native", "--tracker", lab.tracker.address
        )
    assert code == BoardError.exit_code
    assert "wrong architecture: expected x86_64" in " ".join(out.split())


def test_tvms_own_server_of_another_architecture_is_named(lab: Lab) -> None:
    """It tells nothing of itself; what its LLVM compiles for does."""
    with stock_server(lab), pytest.raises(BoardError, match="wrong architecture: expected"):
        lab.tune(workload(), trials=1, board=targets.load(FOREIGN))
