"""Interleaved timing of competitors, and whether it can be believed.

Each competitor lives in its own process (the thread pools of TVM and of torch both spin and pin,
and would disturb each other in one), on the same cores with the same number of threads, and is
stopped with SIGSTOP while another one is timed. A round times each once; the order is reversed
every other round, so that drift hits all alike. Rounds disturbed by other load are repeated, and
where too many are, the measurement says so instead of averaging them in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.measure.core_distance import cache_line_ns
from tvm_flow.measure.load_probe import LoadProbe, core_times
from tvm_flow.measure.rounds import Measurement, Round, measurement
from tvm_flow.support import channel, errors, machine
from tvm_flow.support.child import child_environment
from tvm_flow.support.errors import MeasurementError, UsageError

Array = NDArray[Any]
START_TIMEOUT_S = 300.0
RUN_TIMEOUT_S = 600.0
ROUND_S = 0.3
_QUIET_SAMPLE_S = 0.2


@dataclass(frozen=True)
class Contestant:
    """How to make a competitor: ``factory`` is ``"module:function"``, called in the new process
    as ``function(threads=n, **options)``; it returns a
    :class:`~tvm_flow.measure.timing_worker.Runnable`. ``options`` must be JSON.
    """

    factory: str
    options: dict[str, Any] = field(default_factory=dict)


def quiet_cores(count: int) -> list[int]:
    """``count`` cores this process may use: the fastest, among equals the least busy now.

    Raises :class:`UsageError` where there are fewer.
    """
    usable = machine.usable_cores()
    if not 1 <= count <= len(usable):
        raise UsageError(
            f"cannot time with {count} thread(s)",
            why=f"this process may use {len(usable)} core(s)",
            fix=f"use 1 to {len(usable)}",
        )
    before = {core: core_times([core]) for core in usable}
    time.sleep(_QUIET_SAMPLE_S)
    load = {core: sum(core_times([core])) - sum(before[core]) for core in usable}
    floor = machine.max_clock(usable[count - 1])
    fast = [core for core in usable if machine.max_clock(core) >= floor]
    return sorted(fast, key=lambda core: (load[core], core))[:count]


class Worker:
    """A competitor in its own process, stopped except while it answers. ``python``,
    ``environment`` and ``folder`` are of that process: by default as of this one."""

    def __init__(
        self,
        name: str,
        contestant: Contestant,
        threads: int,
        cores: Sequence[int],
        *,
        python: PathLike[str] | str = sys.executable,
        environment: Mapping[str, str] | None = None,
        folder: PathLike[str] | None = None,
    ) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="tvm-flow-timing-")
        self._log = Path(self._folder.name) / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "tvm_flow.measure.timing_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd=folder,
                env=environment or child_environment(),
            )
        self.probe = LoadProbe(cores, self._process.pid)
        self._send(
            {
                "threads": threads,
                "cores": list(cores),
                "factory": contestant.factory,
                "options": contestant.options,
            }
        )

    def wait_ready(self) -> None:
        """Wait until the network is loaded. Raises what the factory raised."""
        self._receive(START_TIMEOUT_S)
        self._stop()

    def ask(self, message: channel.Message) -> channel.Message:
        """Continue the process for one request and stop it again."""
        self._process.send_signal(signal.SIGCONT)
        self._send(message)
        reply = self._receive(RUN_TIMEOUT_S)
        self._stop()
        return reply

    def outputs(self, *arrays: Array) -> list[Array]:
        """All outputs of the network, in its order, for ``arrays``, which stay its inputs."""
        folder = Path(self._folder.name)
        given, made = (str(folder / name) for name in ("inputs.npz", "outputs.npz"))
        np.savez(given, *arrays)
        self.ask({"do": "output", "inputs": given, "outputs": made})
        with np.load(made) as results:
            return [results[name] for name in results.files]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def _stop(self) -> None:
        """Stop the process and wait until it is: a signal only asks."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def _send(self, message: channel.Message) -> None:
        assert self._process.stdin is not None
        with suppress(channel.Closed):  # its last words are in the reply or the log
            channel.send(self._process.stdin.fileno(), message)

    def _receive(self, timeout_s: float) -> channel.Message:
        assert self._process.stdout is not None
        try:
            reply = channel.receive(self._process.stdout.fileno(), timeout_s)
        except channel.Expired:
            raise MeasurementError(
                f"{self.name} gave no answer within {timeout_s:.0f} s",
                fix="time a smaller model, or fewer at once",
            ) from None
        except channel.Closed:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise MeasurementError(
                f"the process of {self.name} ended with status {self._process.wait()}",
                why=lines[-1] if lines else "it printed nothing",
            ) from None
        if "error" in reply:
            raise _rebuilt(self.name, reply)
        return reply


def _rebuilt(name: str, reply: channel.Message) -> errors.TvmFlowError:
    """The worker's exception as one of the same type here."""
    kind = getattr(errors, str(reply["error"]), MeasurementError)
    error: errors.TvmFlowError = kind(f"{name} failed", why=reply["message"])
    return error


class Race:
    """Competitors started and loaded; a context manager that ends their processes."""

    def __init__(self, contestants: Mapping[str, Contestant], *, threads: int = 1) -> None:
        self.contestants, self.threads = dict(contestants), threads
        self.cores = quiet_cores(threads)
        self.workers: dict[str, Worker] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Race:
        with ExitStack() as stack:  # closes those already started if one fails
            for name, contestant in self.contestants.items():
                worker = Worker(name, contestant, self.threads, self.cores)
                stack.callback(worker.close)
                worker.wait_ready()
                self.workers[name] = worker
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def outputs_of(self, name: str, *arrays: Array) -> list[Array]:
        """All outputs of one competitor; ``arrays``, one per input, are also what it is timed on
        from now on."""
        return self.workers[name].outputs(*arrays)

    def measure(self, rounds: int = 20, round_s: float = ROUND_S) -> Measurement:
        """Time until ``rounds`` undisturbed rounds are taken, at most twice as many in all.

        Raises :class:`UsageError` for fewer than one round.
        """
        if rounds < 1:
            raise UsageError(f"cannot measure {rounds} rounds", fix="ask for 1 or more")
        clean: list[Round] = []
        disturbed: list[Round] = []
        distances = [cache_line_ns(self.cores)]
        while len(clean) < rounds and len(clean) + len(disturbed) < 2 * rounds:
            flip = (len(clean) + len(disturbed)) % 2 == 1
            taken = self._round(round_s, flip=flip)
            (disturbed if taken.complaints else clean).append(taken)
            distances.append(cache_line_ns(self.cores))
        known = [value for value in distances if value is not None]
        return measurement(list(self.workers), clean, disturbed, rounds, known)

    def _round(self, seconds: float, *, flip: bool) -> Round:
        taken = Round()
        for name in sorted(self.workers, reverse=flip):
            probe = self.workers[name].probe
            before = probe.snapshot()
            taken.times[name] = self.workers[name].ask({"do": "round", "seconds": seconds})["times"]
            after = probe.snapshot()
            taken.complaints += probe.complaints(before, after)
            taken.clocks.append(after.clock_khz)
        return taken
