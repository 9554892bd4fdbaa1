"""AArch64 boards under QEMU: the real server, protocol and code, without the board."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.boards.conftest import add_library
from tests.boards.farm import ROOT, Tracker, client, descendants, gone, open_session, until
from tvm_flow import targets
from tvm_flow.boards import emulate
from tvm_flow.boards.emulate import PACKAGES, EmulatedBoard, emulator_command
from tvm_flow.support.errors import EnvironmentFault

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++
ARM = [name for name in targets.names() if targets.load(name).arch == "aarch64"]


@pytest.mark.system("emulate")
def test_rk3399_computes(running_tracker: Tracker, tmp_path: Path) -> None:
    library = add_library("rk3399", tmp_path / "add.so")
    with EmulatedBoard("rk3399", running_tracker.address) as board:
        assert board.key == "rk3399"
        found = client(running_tracker, "rk3399", "kernel", library)
        assert found["out"] == [2.0, 3.0]
        assert "there is no function nothing" in found["unknown"], "errors must not end a session"
        status = client(running_tracker, "rk3399", "status")
    assert not board.running
    assert (status["arch"], status["emulated"]) == ("aarch64", True)
    # what would be true of this machine only
    assert status["cpu_model"] is None
    assert set(status["mhz"]) == {None}
    assert "emulated: its timings mean nothing" in board.log


@pytest.mark.system("emulate")
def test_a_crash_is_survived(running_tracker: Tracker) -> None:
    with EmulatedBoard("rk3399", running_tracker.address, key="arm-crash") as board:
        assert client(running_tracker, "arm-crash", "crash")["error"]
        assert board.wait_for_log("died of SIGSEGV", 5)
        open_session(running_tracker, "arm-crash").close()


@pytest.mark.system("emulate")
def test_a_power_cut_leaves_nothing(running_tracker: Tracker) -> None:
    board = EmulatedBoard("rk3399", running_tracker.address, key="cut").start()
    session = open_session(running_tracker, "cut")
    assert board.process is not None
    children = until(lambda: descendants(board.process.pid))
    board.kill()
    session.close()
    until(lambda: all(gone(child) for child in children), 5)
    assert not board.folder.exists()


@pytest.mark.system("emulate")
@pytest.mark.parametrize("name", ARM)
def test_every_target_has_a_cpu_of_its_own_generation(name: str) -> None:
    command = emulator_command(targets.load(name))
    known = subprocess.run(
        [command[0], "-cpu", "help"], capture_output=True, text=True, timeout=10, check=False
    )
    assert command[command.index("-cpu") + 1] in known.stdout.split()


@pytest.mark.system("emulate")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_verb_stops_cleanly(running_tracker: Tracker, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_flow", "emulate", "rk3399", "--count", "2", "--key", "verb",
         "--tracker", running_tracker.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        registered = until(
            lambda: [b for b in running_tracker.boards() if b["key"] == "server:verb"][1:], 60
        )
        assert registered[0]["emulated"] is True
        children = descendants(process.pid)
        process.send_signal(number)
        out, log = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "stopped 2 emulated board(s)" in out
    assert "its times mean nothing" in log
    assert "Traceback" not in log
    assert all(gone(child) for child in children)


@pytest.mark.system("emulate")
def test_its_boards_do_not_outlive_the_verb(running_tracker: Tracker) -> None:
    """Killed without a chance to clean up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_flow", "emulate", "rk3399", "--key", "orphan", "--tracker",
         running_tracker.address],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        children = until(lambda: descendants(process.pid), 60)
    finally:
        process.kill()
    process.wait(5)
    until(lambda: all(gone(child) for child in children), 5)
    assert not any(psutil.pid_exists(child) and not gone(child) for child in children)


def test_missing_packages_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    board = targets.load("rk3399")
    for name, value in (("SYSROOT", tmp_path), ("_QEMU", ("no-such-qemu",))):
        with monkeypatch.context() as patched:
            patched.setattr(emulate, name, value)
            with pytest.raises(EnvironmentFault) as caught:
                emulator_command(board)
        assert f"Fix: sudo apt-get install {PACKAGES}" in str(caught.value)
        assert "\n" not in str(caught.value)
