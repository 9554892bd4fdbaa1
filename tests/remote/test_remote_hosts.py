"""Boards that are not ours alone: on another host whose cable is pulled, and TVM's own server."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote.lab import BOARD, FlowTracker, Lab, at_trial, stock_server
from tests.tuning.faulty_family import workload
from tvm_flow.boards.emulate import NativeBoard
from tvm_flow.support.errors import BoardError

#: Addresses of the two ends of the cable, in a range that is used for nothing else here.
HERE, THERE = "10.203.77.1", "10.203.77.2"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


class Cable:
    """A network namespace, which is a host of its own, and a virtual cable to it."""

    def __init__(self) -> None:
        self.namespace, self.end = f"tvmflow{os.getpid()}", f"tf{os.getpid()}"

    def lay(self) -> None:
        far = f"{self.end}x"
        ip("netns", "add", self.namespace)
        ip("link", "add", self.end, "type", "veth", "peer", "name", far)
        ip("link", "set", far, "netns", self.namespace)
        ip("addr", "add", f"{HERE}/24", "dev", self.end)
        ip("link", "set", self.end, "up")
        for command in (("addr", "add", f"{THERE}/24", "dev", far), ("link", "set", far, "up"),
                        ("link", "set", "lo", "up")):  # fmt: skip
            ip("-n", self.namespace, *command)

    def cut(self) -> None:
        """No packet says so to anybody."""
        ip("-n", self.namespace, "link", "set", f"{self.end}x", "down")

    def remove(self) -> None:
        subprocess.run(["ip", "link", "del", self.end], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    made = Cable()
    try:
        made.lay()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield made
    made.remove()


class FarBoard(NativeBoard):
    """A board at the other end of a cable."""

    def __init__(self, cable: Cable, tracker: str, key: str) -> None:
        super().__init__("native", tracker, key=key, arguments=["--host", THERE])
        self.command = ("ip", "netns", "exec", cable.namespace, *self.command)


@pytest.fixture
def far_lab(cable: Cable, native_server: Path, tmp_path: Path) -> Iterator[Lab]:
    tracker = FlowTracker(host="0.0.0.0")
    tracker.start()
    lab = Lab(tracker, tmp_path / BOARD.log_name)
    board = FarBoard(cable, f"{HERE}:{tracker.port}", lab.key)
    lab.boards.append(board)
    board.start()
    yield lab
    lab.close()
    tracker.stop()


def test_network_cut_ends_the_run_with_its_cause(far_lab: Lab, cable: Cable) -> None:
    start = time.monotonic()
    with pytest.raises(BoardError, match=r"its network is cut|no board .* is registered"):
        far_lab.tune(workload(), on_event=at_trial(4, cable.cut))
    assert time.monotonic() - start < 80
    assert len(far_lab.records()) >= 4
    assert all(record.ok for record in far_lab.records())


def test_tvms_own_server_works_too(lab: Lab) -> None:
    """Without health and with warm weights, and it says so."""
    with stock_server(lab):
        report = lab.tune(workload(), trials=6)
    assert report.total == 6
    assert not report.failures
    assert any("TVM's own RPC server" in note for note in report.notes)
