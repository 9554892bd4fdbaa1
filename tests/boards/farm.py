"""A real tracker as a sub-process, and the protocols of tracker and server, spoken directly."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tvm_flow.support.address import Address

TRACKER_MAGIC, SERVER_MAGIC, MISMATCH = 0x2F271, 0xFF271, 0xFF273
REQUEST, SUMMARY = 4, 6
CLIENT = Path(__file__).with_name("client.py")
ROOT = Path(__file__).parents[2]
CLIENT_TIMEOUT_S = 60
#: ``python -m MODULE`` of TVM's without PyTorch, which takes two thirds of the start.
RUN_MODULE = """
import runpy, sys
from tvm_flow.support.collector import collect_seldom
from tvm_flow.support.without_torch import without_torch
collect_seldom()
del sys.argv[0]
with without_torch():
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The first true value of ``condition``; an assertion fails where there is none in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s")


class Tracker:
    """TVM's own tracker, on one port, which can be killed and started again."""

    def __init__(self, meet: str = "127.0.0.1") -> None:
        self._meet, self.port = meet, free_port()
        self.address = str(Address(meet, self.port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUN_MODULE, "tvm.exec.rpc_tracker", *arguments, "--port-end",
             str(self.port + 1)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
        until(self._answers, 60)

    def stop(self) -> None:
        """Kill it: neither clients nor boards are told."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with self.connect():
                return True
        except OSError:
            return False

    def connect(self) -> socket.socket:
        made = socket.create_connection((self._meet, self.port), 5)
        made.sendall(struct.pack("<i", TRACKER_MAGIC))
        assert struct.unpack("<i", receive(made, 4)) == (TRACKER_MAGIC,)
        return made

    def ask(self, *message: Any) -> Any:
        with self.connect() as made:
            text = json.dumps(message).encode()
            made.sendall(struct.pack("<i", len(text)) + text)
            (length,) = struct.unpack("<i", receive(made, 4))
            return json.loads(receive(made, length))

    def boards(self) -> list[dict[str, Any]]:
        """What the registered servers say of themselves."""
        code, summary = self.ask(SUMMARY)
        assert code == 0
        return list(summary["server_info"])

    def request(self, key: str) -> tuple[str, int, str]:
        """Address and match key of a free board."""
        code, (host, port, match_key) = self.ask(REQUEST, key, "", 1)
        assert code == 0
        return host, port, match_key


def receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def greeting(text: str) -> bytes:
    return struct.pack("<ii", SERVER_MAGIC, len(text)) + text.encode()


def open_session(tracker: Tracker, key: str, options: str = "") -> socket.socket:
    """A session without TVM: the greeting, and then a client that says nothing."""
    host, port, match_key = tracker.request(key)
    made = socket.create_connection((host, port), 5)
    made.sendall(greeting(f"client:{match_key} {options}".strip()))
    assert struct.unpack("<i", receive(made, 4)) == (SERVER_MAGIC,)
    (length,) = struct.unpack("<i", receive(made, 4))
    assert receive(made, length).decode() == f"server:{key}"
    return made


def client(tracker: Tracker, key: str, scenario: str, *arguments: str | Path) -> Any:
    """What a scenario of ``client.py`` prints, TVM's real client in a process of its own."""
    done = subprocess.run(
        [sys.executable, CLIENT, str(tracker.port), key, scenario, *map(str, arguments)],
        capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def kill_tree(pid: int) -> None:
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def gone(pid: int) -> bool:
    """Whether a process has ended; it may do so between any two questions."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
