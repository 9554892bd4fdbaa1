"""Boards that are not there: a board's own AArch64 server under QEMU's user mode emulation.

Protocol, code and numbers are the real board's. Times are not: nothing measured on an emulated
board says anything about a board.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tvm_flow import targets
from tvm_flow.boards.process import BoardProcess
from tvm_flow.boards.server_build import server_program
from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.system_packages import packages_to
from tvm_flow.targets import Board

PACKAGES = " ".join(package.name for package in packages_to("emulate"))
#: Where Debian's cross packages put the C and C++ libraries of the emulated machine.
SYSROOT = Path("/usr/aarch64-linux-gnu")
_QEMU = ("qemu-aarch64", "qemu-aarch64-static")
#: LLVM's name of a core -> QEMU's, where they differ: cores of the same architecture version.
_CPUS = {
    "cortex-a53": "cortex-a53",
    "cortex-a57": "cortex-a57",
    "cortex-a72": "cortex-a72",
    "cortex-a76": "cortex-a76",
    "neoverse-n1": "neoverse-n1",
    "carmel": "neoverse-n1",
    "cortex-a78ae": "neoverse-n1",
}


class EmulatedBoard(BoardProcess):
    """The server of a board, emulated on this machine, registered inside a ``with`` block.

    Parameters
    ----------
    target: a board's name, ``.toml`` file, or the board.
    tracker: ``"HOST:PORT"`` of a running tracker.
    key: what clients ask the tracker for; the target's name by default.
    port: to listen on, on this machine only; 0 takes any free one.
    name: how the board calls itself.
    session_limit_s: longest session in seconds; 0 for no limit.
    arguments: more options for ``board_server``.
    on_line: called with every line the server logs.

    A board of this machine's own architecture runs without QEMU, and says that it is emulated all
    the same. Raises :class:`EnvironmentFault` where QEMU or its libraries are missing.
    """

    emulated = True

    def __init__(
        self,
        target: str | Board,
        tracker: str,
        *,
        key: str | None = None,
        port: int = 0,
        name: str = "",
        session_limit_s: float = 0.0,
        arguments: Sequence[str] = (),
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self.board = target if isinstance(target, Board) else targets.load(target)
        self.key = key or self.board.name
        emulator = emulator_command(self.board) if self.emulated else []
        command = [*emulator, str(server_program(self.board.arch)), "--until-eof"]
        command += ["--tracker", tracker, "--key", self.key, "--port", str(port)]
        command += ["--cores", ",".join(map(str, self.board.cores))]
        command += ["--threads", str(self.board.threads)]
        command += ["--session-limit", str(session_limit_s), *arguments]
        command += ["--name", name] if name else []
        command += ["--emulated"] if self.emulated else []
        if "--host" not in arguments:
            # It listens on this machine only, whatever address of it the tracker sees.
            command += ["--custom-addr", "127.0.0.1"]
        super().__init__(command, on_line=on_line)


class NativeBoard(EmulatedBoard):
    """The same for this machine as it is, nothing emulated: ``NativeBoard("native", tracker)``."""

    emulated = False


def emulator_command(board: Board) -> list[str]:
    """What goes before a program of ``board`` to run it here; empty for this architecture.

    Raises :class:`EnvironmentFault` with the command that installs what is missing.
    """
    if board.arch == platform.machine():
        return []
    if board.arch != "aarch64":
        raise EnvironmentFault(
            f"Cannot emulate {board.name} here",
            why=f"it is {board.arch}; only AArch64 boards are emulated",
            fix="choose one of tvm-flow targets",
        )
    qemu = next(filter(None, map(shutil.which, _QEMU)), None)
    if qemu is None or not (SYSROOT / "lib" / "libstdc++.so.6").exists():
        missing = f"there are no AArch64 libraries in {SYSROOT}" if qemu else f"no {_QEMU[0]} here"
        raise EnvironmentFault(
            f"Cannot emulate {board.name}", why=missing, fix=f"sudo apt-get install {PACKAGES}"
        )
    return [qemu, "-cpu", _CPUS.get(board.mcpu, "max"), "-L", str(SYSROOT)]
