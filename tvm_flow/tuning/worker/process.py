"""The tuner's side of one worker process: start, ask, restart after a crash, kill on a deadline."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tvm_flow.support import channel
from tvm_flow.support.channel import Closed, Expired
from tvm_flow.support.child import child_environment
from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.messages import from_message, to_message
from tvm_flow.tuning.worker.fork_server import FORK_SERVER, START_TIMEOUT_S, ForkedWorker
from tvm_flow.tuning.worker.protocol import Answer, Order, WorkerRole

A = TypeVar("A", bound=Answer)

#: A worker ends itself this long after a deadline that nobody enforced (its tuner was killed).
ORPHAN_SLACK_S = 5.0


class WorkerCrashed(Exception):
    """The worker died while it worked on a request; the message says of what."""


class WorkerExpired(Exception):
    """The worker was killed because the request took longer than allowed."""


class WorkerStopped(Exception):
    """The tuner is shutting down."""


class WorkerProcess:
    """One sub-process that answers one request at a time, started when first asked.

    Parameters
    ----------
    role: what it does.
    cores: ids of the cores it may use; empty for all.
    environment: variables added to ours.
    log: file for what it prints (also crash messages of libraries).

    :meth:`stop` may be called from another thread while :meth:`request` waits.
    """

    def __init__(
        self, role: WorkerRole, cores: Sequence[int], environment: Mapping[str, str], log: Path
    ) -> None:
        self.role, self.cores, self.log = role, tuple(cores), log
        self._environment = dict(environment)
        self._process: ForkedWorker | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def request(self, request: Any, answer: type[A], timeout_s: float) -> A:
        """Ask and wait for the ``answer``; both are dataclasses of a protocol.

        Raises :class:`WorkerCrashed`, :class:`WorkerExpired` (the next request then starts a new
        process), :class:`WorkerStopped`, or ``EnvironmentFault`` if no worker can be started.
        """
        process = self.start()
        order = to_message(Order(timeout_s + ORPHAN_SLACK_S, to_message(request)))
        try:
            channel.send(_fd(process.stdin), order)
            return from_message(channel.receive(_fd(process.stdout), timeout_s), answer)
        except Expired:
            self._kill()
            raise WorkerExpired(f"no answer within {timeout_s:g} s") from None
        except Closed:
            status = self._kill()
            if self._stopped:
                raise WorkerStopped from None
            raise WorkerCrashed(_death(status)) from None

    def stop(self) -> None:
        """Kill the process, whatever it does; a waiting :meth:`request` raises."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def start(self) -> ForkedWorker:
        """The running process, started if there is none; raises as :meth:`request` does."""
        try:
            with self._lock:
                if self._stopped:
                    raise WorkerStopped
                if self._process is not None:
                    return self._process
                self._process = process = FORK_SERVER.fork(
                    self.role.handlers, self.cores, child_environment(**self._environment), self.log
                )
            channel.send(_fd(process.stdin), self.role.options)
            channel.receive(_fd(process.stdout), START_TIMEOUT_S)
        except (Closed, Expired) as error:
            self._kill()
            if self._stopped:
                raise WorkerStopped from None
            raise EnvironmentFault(
                f"The {self.role.name} worker of the tuner does not start",
                why=_last_line(self.log),
                fix="tvm-flow doctor",
            ) from error
        return process

    def _kill(self) -> int:
        """End the current process; its exit status."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)  # one that died by itself keeps its own status
        process.kill()
        status = process.wait()
        process.close()
        return status


def _fd(pipe: object) -> int:
    return pipe.fileno()  # type: ignore[attr-defined]


def _death(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
