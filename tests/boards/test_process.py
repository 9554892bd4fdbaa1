"""A board's server as a sub-process: what is left when its start is interrupted."""

from __future__ import annotations

import psutil
import pytest

from tvm_flow.boards.process import BoardProcess
from tvm_flow.errors import EnvironmentFault


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
