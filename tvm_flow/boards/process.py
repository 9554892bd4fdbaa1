"""A board's RPC server as a sub-process of this one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tvm_flow.support.address import parse_host
from tvm_flow.support.errors import EnvironmentFault

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
_LISTENS = re.compile(r" listens on (\S+):(\d+),")


class BoardProcess:
    """A server process. As a context manager it is registered with the tracker inside the block.

    Parameters
    ----------
    command: the program and its arguments; the server's log is expected on standard error.
    on_line: called with every line of the log, from another thread. The first exception it raises
        is raised again by :meth:`stop`, and the log is read on: a server whose log nobody reads
        blocks as soon as the pipe is full.

    The server ends with this process, whatever ends that: it watches its standard input.
    """

    def __init__(
        self, command: Sequence[str], *, on_line: Callable[[str], None] | None = None
    ) -> None:
        self.command = tuple(command)
        self.process: subprocess.Popen[str] | None = None
        self._on_line = on_line
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader: threading.Thread | None = None
        self._complaint: Exception | None = None
        #: Where the server keeps the files of its sessions, once started; deleted with it.
        self.folder: Path

    @property
    def log(self) -> str:
        """What the server has written so far."""
        with self._changed:
            return "\n".join(self._lines)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port the server listens on, once it has started."""
        found = _LISTENS.search(self.log)
        if found is None:
            raise RuntimeError("the server has not started")
        return parse_host(found[1]), int(found[2])

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Start it, and wait until it is registered with its tracker.

        Raises :class:`EnvironmentFault` where that has not happened after ``timeout_s`` seconds;
        nothing is left running then.
        """
        self.launch()
        try:
            registered = self.wait_for_log(" registered with tracker ", timeout_s)
        except BaseException:  # Ctrl-C: nobody would stop it, a "with" block has not begun
            self.kill()
            raise
        if not registered:
            self.kill()
            last = self.log.rpartition("\n")[2]
            raise EnvironmentFault(
                "The board's server did not register with its tracker",
                why=last or f"no word from it within {timeout_s:g} s",
                fix="start the tracker first, and check its address",
            )
        return self

    def launch(self) -> None:
        """Start it and do not wait. Raises :class:`EnvironmentFault` where that is impossible."""
        self.folder = Path(tempfile.mkdtemp(prefix="tvm-flow-server-"))
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # a Ctrl-C is ours to pass on
                env={**os.environ, "TMPDIR": str(self.folder)},
            )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise EnvironmentFault(
                f"Cannot start {self.command[0]}", why=error.strerror or str(error)
            ) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_log(self, text: str, timeout_s: float, *, after: int = 0) -> bool:
        """Whether ``text`` is in the log, from character ``after`` on, within ``timeout_s`` s."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while text not in "\n".join(self._lines)[after:]:
                left = deadline - time.monotonic()
                if left <= 0 or not self.running:
                    return text in "\n".join(self._lines)[after:]
                self._changed.wait(min(left, 0.5))
        return True

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> int:
        """End it as a service manager would, with SIGTERM; its exit status (0 if all is well).

        Raises what ``on_line`` raised, once everything is ended.
        """
        if self.process is None:
            return 0
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        status = self._clean_up()
        complaint, self._complaint = self._complaint, None
        if complaint is not None:
            raise complaint
        return status

    def kill(self) -> None:
        """End it with everything it started, at once, as a power cut would."""
        self._clean_up()

    def _clean_up(self) -> int:
        process = self.process
        if process is None:
            return 0
        for victim in _family(process.pid):  # the server first: it must not report the others
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        status = process.wait()
        if self._reader is not None:
            self._reader.join(1)
        for pipe in (process.stdin, process.stderr):
            if pipe is not None:
                with suppress(OSError, ValueError):
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def _read(self) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        with suppress(ValueError):  # closed under our hands
            for line in self.process.stderr:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
                self._pass_on(line.rstrip("\n"))
        with self._changed:
            self._changed.notify_all()

    def _pass_on(self, line: str) -> None:
        if self._on_line is None:
            return
        try:
            self._on_line(line)
        except Exception as error:  # the caller's; it is told when it stops the server
            self._complaint = self._complaint or error

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _family(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
