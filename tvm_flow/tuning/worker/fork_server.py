"""The tuner's side of the process that forks its workers, of which there is one per tuner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tvm_flow.support import channel
from tvm_flow.support.channel import Closed, Expired

#: Importing TVM on a slow and busy machine takes a while.
START_TIMEOUT_S = 120.0
#: Libraries read how many threads to start when they are loaded, which is before the fork, and
#: threads do not survive one. Workers want one thread of each, except of TVM, which asks later.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ForkedWorker:
    """A running worker; what :class:`subprocess.Popen` would offer of it.

    ``stdin`` and ``stdout`` are the tuner's ends of its pipes.
    """

    def __init__(self, pid: int, stdin: int, stdout: int, status: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb", 0)
        self.stdout = os.fdopen(stdout, "rb", 0)
        self._status = os.fdopen(status, "rb", 0)
        self._lock = threading.Lock()
        self._code: int | None = None

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit status, negative for a signal. Raises :class:`subprocess.TimeoutExpired`."""
        with self._lock:
            if self._code is None:
                try:
                    answer = channel.receive(self._status.fileno(), timeout_s)
                    self._code = int(answer["status"])
                except Expired:
                    raise subprocess.TimeoutExpired("worker", timeout_s or 0.0) from None
                except Closed:  # somebody killed the process that would know
                    self._code = -signal.SIGKILL
                self._status.close()
            return self._code

    def kill(self) -> None:
        """Kill it and what it started (the linker), if it has not ended yet."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
            return  # its number may be another's by now
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes."""
        self.stdin.close()
        self.stdout.close()


class ForkServer:
    """Starts the parent of workers with the first of them, and another where that is gone, or
    where Python is to find other modules."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._path = ""

    def fork(
        self, handlers: str, cores: Sequence[int], environment: Mapping[str, str], log: Path
    ) -> ForkedWorker:
        """A new worker. Raises :class:`Closed` or :class:`Expired` where none can be started; the
        reason is in ``log`` then."""
        order = {
            "handlers": handlers,
            "cores": list(cores),
            "environment": dict(environment),
        }
        with self._lock, open(log, "ab") as output:
            if self._socket is not None and self._path == environment["PYTHONPATH"]:
                with suppress(Closed):  # it ends when it has nothing to do for a while
                    return self._ask(self._socket, order, output.fileno())
            return self._ask(self._start(environment, output.fileno()), order, output.fileno())

    def _start(self, environment: Mapping[str, str], log: int) -> socket.socket:
        if self._socket is not None:
            self._socket.close()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tvm_flow.tuning.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),),
                env={**environment, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C is for the tuner, which then ends its workers
            )  # fmt: skip
        self._socket, self._path = ours, environment["PYTHONPATH"]
        return ours

    def _ask(self, parent: socket.socket, order: channel.Message, log: int) -> ForkedWorker:
        (incoming, stdin), (stdout, outgoing), (status, report) = (os.pipe() for _ in range(3))
        try:
            with suppress(OSError):  # the order finds out too
                socket.send_fds(parent, [b"+"], [incoming, outgoing, log, report])
            channel.send(parent.fileno(), order)
            pid = int(channel.receive(parent.fileno(), START_TIMEOUT_S)["pid"])
        except BaseException:
            for fd in (stdin, stdout, status):
                os.close(fd)
            raise
        finally:
            for fd in (incoming, outgoing, report):
                os.close(fd)
        return ForkedWorker(pid, stdin, stdout, status)


#: Tuning runs of one process share it.
FORK_SERVER = ForkServer()
