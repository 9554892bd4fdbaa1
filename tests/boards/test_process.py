"""A board's server as a sub-process: what is left when its start is interrupted."""

from __future__ import annotations

import psutil
import pytest

from tvm_flow.boards.process import BoardProcess
from tvm_flow.support.errors import EnvironmentFault


def test_ctrl_c_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the process nor the folder of its sessions."""

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    server = BoardProcess(["sleep", "60"])
    monkeypatch.setattr(server, "wait_for_log", interrupted)
    with pytest.raises(KeyboardInterrupt), server:
        pass
    assert server.process is not None
    assert not psutil.pid_exists(server.process.pid)
    assert not server.folder.exists()


def test_a_server_that_never_registers() -> None:
    server = BoardProcess(["sh", "-c", "echo no tracker there >&2; exec sleep 60"])
    with pytest.raises(EnvironmentFault, match="no tracker there"):
        server.start(0.5)
    assert not server.running
    assert not server.folder.exists()


def test_a_callback_that_fails_does_not_end_the_reading_of_the_log() -> None:
    """More log than a pipe holds: a server nobody reads would block in the middle of it."""
    heard: list[str] = []

    def on_line(line: str) -> None:
        heard.append(line)
        raise ValueError(f"cannot show {line}")

    script = "seq 1 30000 >&2; echo the end >&2; exec sleep 60"
    server = BoardProcess(["sh", "-c", script], on_line=on_line)
    server.launch()
    assert server.wait_for_log("the end", 60)
    assert server.running
    with pytest.raises(ValueError, match=r"cannot show 1$"):
        server.stop()
    assert len(heard) == 30001
    assert not server.running
    assert not server.folder.exists()
