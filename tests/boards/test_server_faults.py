"""What must not hurt the server: strangers, a tracker that vanishes, its own end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.boards.conftest import Start
from tests.boards.farm import (
    MISMATCH,
    SERVER_MAGIC,
    Tracker,
    descendants,
    free_port,
    gone,
    greeting,
    open_session,
    receive,
    until,
)
from tvm_flow.boards.emulate import NativeBoard
from tvm_flow.support.errors import EnvironmentFault

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++

NONSENSE = {
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(64),
    "huge key": SERVER_MAGIC.to_bytes(4, "little") + (2**31 - 1).to_bytes(4, "little"),
    "negative key": SERVER_MAGIC.to_bytes(4, "little") + b"\xff\xff\xff\xff",
    "empty key": SERVER_MAGIC.to_bytes(4, "little") + bytes(4),
}


def closed(connection: socket.socket, timeout_s: float) -> bool:
    connection.settimeout(timeout_s)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_dropped_at_once(start: Start, running_tracker: Tracker, kind: str) -> None:
    board = start(key="strangers")
    with socket.create_connection(board.address, 5) as stranger:
        stranger.sendall(NONSENSE[kind])
        assert closed(stranger, 1)
    open_session(running_tracker, "strangers").close()
    assert board.running


def test_silent_clients_block_nobody(start: Start, running_tracker: Tracker) -> None:
    """More of them than are kept waiting; a real client comes in between."""
    board = start(key="silent")
    silent = [socket.create_connection(board.address, 5) for _ in range(80)]
    silent[-1].sendall(greeting("client:x")[:6])  # one that began to speak
    before = time.monotonic()
    open_session(running_tracker, "silent").close()
    assert time.monotonic() - before < 1.5, "the silent clients were waited for"
    assert all(closed(stranger, 4) for stranger in silent)
    for stranger in silent:
        stranger.close()


def test_the_wrong_key_is_refused(start: Start) -> None:
    board = start(key="locked")
    with socket.create_connection(board.address, 5) as stranger:
        stranger.sendall(greeting("client:locked:0.123"))
        assert int.from_bytes(receive(stranger, 4), "little") == MISMATCH


def test_the_smaller_of_both_time_limits_holds(start: Start, running_tracker: Tracker) -> None:
    start(key="limits", session_limit_s=60)
    before = time.monotonic()
    with open_session(running_tracker, "limits", "-timeout=1") as session:
        session.settimeout(5)
        told = b""
        while more := session.recv(4096):
            told += more
    assert b"RPCSessionTimeoutError: Your 1.0s session" in told
    assert time.monotonic() - before < 4


def test_a_key_nobody_uses_is_offered_again(start: Start, running_tracker: Tracker) -> None:
    board = start(key="forgotten")
    running_tracker.request("forgotten")  # and never comes
    assert board.wait_for_log("did not come", 12)
    open_session(running_tracker, "forgotten").close()


def test_a_new_tracker_is_found(native_server: Path) -> None:
    """The tracker dies during a session, and comes back without its memory."""
    tracker = Tracker()
    tracker.start()
    board = NativeBoard("native", tracker.address, key="again")
    try:
        board.start()
        session = open_session(tracker, "again")
        assert until(lambda: [b["busy"] for b in tracker.boards()] == [True])
        tracker.stop()
        assert board.wait_for_log(f"tracker {tracker.address} lost", 5)
        mark = len(board.log)
        tracker.start()
        assert board.wait_for_log("registered with tracker", 10, after=mark)
        assert tracker.boards()[0]["busy"] is True, "the session did not survive"
        session.close()
        open_session(tracker, "again").close()
    finally:
        board.kill()
        tracker.stop()


def test_a_tracker_that_says_nothing(native_server: Path) -> None:
    """It is given up after seconds, during which strangers are still dealt with."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        board = NativeBoard("native", f"127.0.0.1:{mute.getsockname()[1]}", key="mute")
        try:
            board.launch()
            assert board.wait_for_log(" listens on ", 10)
            with socket.create_connection(board.address, 5) as stranger:
                stranger.sendall(NONSENSE["http"])
                assert closed(stranger, 1)
            assert board.wait_for_log("not reachable (no answer), trying every 2 s", 8)
        finally:
            board.kill()


def test_it_listens_only_where_it_is_told(start: Start) -> None:
    quiet = start(key="private")
    host, port = quiet.address
    assert host == "127.0.0.1"
    assert "WARNING" not in quiet.log
    with pytest.raises(OSError):  # noqa: PT011 - refused; another address of this very machine
        socket.create_connection(("127.0.0.2", port), 2)
    loud = start(key="public", arguments=["--host", "0.0.0.0"])
    assert "WARNING: whoever reaches this port can run any code on this machine" in loud.log
    socket.create_connection(("127.0.0.2", loud.address[1]), 2).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_with_its_sessions(
    start: Start, running_tracker: Tracker, number: signal.Signals
) -> None:
    board = start(key="end")
    session = open_session(running_tracker, "end")
    assert board.process is not None
    children = until(lambda: descendants(board.process.pid))
    board.process.send_signal(number)
    assert board.process.wait(60) == 0
    assert closed(session, 60)
    assert all(gone(child) for child in children)
    assert list(board.folder.iterdir()) == []


def test_its_sessions_do_not_outlive_it(start: Start, running_tracker: Tracker) -> None:
    board = start(key="power")
    session = open_session(running_tracker, "power")
    assert board.process is not None
    children = until(lambda: descendants(board.process.pid))
    os.kill(board.process.pid, signal.SIGKILL)
    assert closed(session, 60)  # at once, but the machine may have other things to do
    until(lambda: all(gone(child) for child in children), 60)


def test_it_ends_when_its_owner_does(start: Start) -> None:
    board = start(key="owner")
    assert board.process is not None
    assert board.process.stdin is not None
    board.process.stdin.close()
    assert board.process.wait(5) == 0


BAD_OPTIONS = {
    "--tracker HOST:PORT is missing": ["--key", "x"],
    "--key KEY is missing": ["--tracker", "h:1"],
    "is not HOST:PORT": ["--tracker", "h", "--key", "x"],
    "is not a number from 0 to 65535": ["--tracker", "h:1", "--key", "x", "--port", "70000"],
    "is not a whole number": ["--tracker", "h:1", "--key", "x", "--threads", "1.5"],
    "--cores  is not a number": ["--tracker", "h:1", "--key", "x", "--cores", "1,"],
    "has a space or a quote": ["--tracker", "h:1", "--key", 'a"b'],
    "there is no option --nothing": ["--nothing", "x"],
    "needs a value": ["--key"],
}


@pytest.mark.parametrize("message", BAD_OPTIONS)
def test_bad_options_are_one_line(native_server: Path, message: str) -> None:
    done = subprocess.run(
        [native_server, *BAD_OPTIONS[message]], capture_output=True, text=True, timeout=10,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use(start: Start, native_server: Path) -> None:
    _, port = start(key="first").address
    command = [native_server, "--tracker", "127.0.0.1:1", "--key", "x", "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert ". Fix: " in done.stderr


def test_no_tracker_at_all(native_server: Path) -> None:
    """Starting says so, and leaves nothing behind; the server by itself would keep trying."""
    board = NativeBoard("native", f"127.0.0.1:{free_port()}", key="lonely")
    with pytest.raises(EnvironmentFault, match="connection refused"):
        board.start(timeout_s=3)
    assert not board.running
