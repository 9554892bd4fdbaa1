"""The C++ server against TVM's real tracker and client: what clients can do in a session."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import pytest

from tests.boards.conftest import Start, add_library
from tests.boards.farm import Tracker, client, until

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++


def test_a_client_runs_and_times_kernels(
    start: Start, running_tracker: Tracker, tmp_path: Path
) -> None:
    start(key="kernels")
    found = client(running_tracker, "kernels", "kernel", add_library("native", tmp_path / "a.so"))
    assert found["out"] == [2.0, 3.0]
    assert found["chained"] == 3.0
    assert 0 < found["seconds"] < 0.1
    assert "there is no function nothing" in found["unknown"]
    assert "tvm_flow.board.time takes" in found["miscounted"]


def test_status_is_what_the_system_says(start: Start, running_tracker: Tracker) -> None:
    start(key="status", name="shelf-3")
    found = client(running_tracker, "status", "status")
    uname = platform.uname()
    assert (found["name"], found["key"]) == ("shelf-3", "status")
    assert (found["arch"], found["kernel"]) == (uname.machine, uname.release)
    assert found["emulated"] is False
    assert set(found["cores"]) <= os.sched_getaffinity(0)
    assert 1 <= found["threads"] <= len(found["cores"])
    for per_core in ("governor", "mhz", "max_mhz"):
        assert len(found[per_core]) == len(found["cores"])
    assert found["glibc"] == platform.libc_ver()[1]
    assert found["uptime_s"] > 0
    assert found["mem_available_mb"] > 1
    absent = not list(Path("/sys/class/thermal").glob("thermal_zone*"))
    assert not absent or found["temperature_c"] is None
    listed = until(lambda: [b for b in running_tracker.boards() if b["key"] == "server:status"])
    assert listed[0]["name"] == "shelf-3"
    assert listed[0]["health"]["kernel"] == uname.release


def test_programs_run_in_the_sessions_folder(start: Start, running_tracker: Tracker) -> None:
    board = start(key="programs")
    found = client(running_tracker, "programs", "programs")
    assert found["shell"]["code"] == 3
    assert "/tvm-flow-board-" in found["shell"]["stdout"]
    assert found["shell"]["stderr"] == "wrong\n"
    assert found["missing"]["code"] == 127
    assert "No such file" in found["missing"]["stderr"]
    assert found["bytes"]["stdout"] == "a?b"
    assert found["much"] == 2**20
    assert found["slow"]["timed_out"] is True
    assert found["killed"] == 128 + 9
    assert "JSON" in found["nonsense"]
    assert not _sleeping("61.25", "62.25")
    assert board.running


def test_files_stay_inside_and_are_removed(start: Start, running_tracker: Tracker) -> None:
    board = start(key="files")
    found = client(running_tracker, "files", "files")
    assert found["content"] == "content"
    assert found["after"] == ""
    assert "not a name inside" in found["outside"]
    assert board.wait_for_log("session 1 ended", 10)
    until(lambda: not list(board.folder.iterdir()))


def test_a_crash_ends_only_its_session(start: Start, running_tracker: Tracker) -> None:
    board = start(key="crash")
    found = client(running_tracker, "crash", "crash")
    assert found["error"]
    assert found["seconds"] < 5, "the client was not told at once"
    assert board.wait_for_log("session 1 died of SIGSEGV", 5)
    assert client(running_tracker, "crash", "status")["key"] == "crash"
    (listed,) = (b for b in running_tracker.boards() if b["key"] == "server:crash")
    assert (listed["crashes"], listed["sessions"]) == (1, 2)


def test_a_session_that_is_too_long_is_killed(start: Start, running_tracker: Tracker) -> None:
    """With all it started, even what made itself a session of its own inside it cannot stay."""
    board = start(key="long", session_limit_s=1.5)
    found = client(running_tracker, "long", "overstay")
    assert "RPCSessionTimeoutError: Your 1.5s session has expired" in found["error"]
    assert found["seconds"] < 5
    assert board.wait_for_log("session 1 killed: its 1.5 s are over", 5)
    until(lambda: not _sleeping("64.25"))


def _sleeping(*times: str) -> list[int]:
    """Processes of the tests' unmistakable sleeps."""
    commands = ((process.pid, process.info["cmdline"]) for process in
                psutil.process_iter(["cmdline"]))  # fmt: skip
    return [pid for pid, words in commands if words and words[0] == "sleep" and words[1] in times]


def test_the_tracker_knows_a_board_that_calls_itself_registered(
    start: Start, running_tracker: Tracker
) -> None:
    for number in range(5):  # several, for it was a race
        start(key=f"known{number}")
        keys = {listed["key"] for listed in running_tracker.boards()}
        assert f"server:known{number}" in keys
