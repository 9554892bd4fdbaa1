"""The race of :mod:`tvm_flow.measure.timing` between processes of different environments.

A competitor that cannot start, load or compute is left out and its reason kept, instead of ending
the whole measurement.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines import environments
from tvm_flow.measure.rounds import Measurement
from tvm_flow.measure.timing import Contestant, Race, Worker
from tvm_flow.measure.timing_worker import THREAD_VARIABLES
from tvm_flow.support.errors import TvmFlowError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Peer:
    """A contestant and the interpreter it runs in."""

    python: Path
    contestant: Contestant


class PeerWorker(Worker):
    """A worker of another environment: same protocol, its packages instead of ours."""

    def __init__(self, name: str, peer: Peer, threads: int, cores: Sequence[int]) -> None:
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        super().__init__(
            name,
            peer.contestant,
            threads,
            cores,
            python=peer.python,
            environment=environments.environ(limits),
            folder=environments.ROOT,
        )

    def peak_rss_bytes(self) -> int:
        """Largest resident set so far. Not ``getrusage``: its maximum is inherited from the
        process that started this one."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


class PeerRace(Race):
    """As :class:`Race`. ``failures`` tells why a competitor is out; ``outputs`` what each computed
    for ``sample``; ``busy``: a process spins on the last of the cores all the time, and so other
    load is no complaint."""

    def __init__(
        self, peers: Mapping[str, Peer], sample: Array, *, threads: int = 1, busy: bool = False
    ) -> None:
        super().__init__({name: peer.contestant for name, peer in peers.items()}, threads=threads)
        self.peers, self.sample, self.busy = dict(peers), sample, busy
        self.failures: dict[str, str] = {}
        self.outputs: dict[str, Array] = {}

    def __enter__(self) -> PeerRace:
        with ExitStack() as stack:
            for name, peer in self.peers.items():
                worker = PeerWorker(name, peer, self.threads, self.cores)
                try:
                    worker.wait_ready()
                    self.outputs[name] = worker.outputs(self.sample)[0]
                except TvmFlowError as error:
                    worker.close()
                    self.failures[name] = str(error)
                else:
                    stack.callback(worker.close)
                    self.workers[name] = worker
            self._stack = stack.pop_all()
        return self

    def measure(self, rounds: int = 20, round_s: float = 0.3) -> Measurement:
        if not self.busy:
            return super().measure(rounds, round_s)
        with spinning(self.cores[-1]):
            return super().measure(rounds, round_s)

    def _round(self, seconds: float, *, flip: bool) -> Any:
        taken = super()._round(seconds, flip=flip)
        if self.busy:
            taken.complaints.clear()
        return taken

    def peak_rss_bytes(self) -> dict[str, int]:
        """Per competitor, since it started: interpreter, engine, network and runs so far."""
        return {
            name: worker.peak_rss_bytes()
            for name, worker in self.workers.items()
            if isinstance(worker, PeerWorker)
        }


@contextmanager
def spinning(core: int) -> Iterator[None]:
    """Another process computes on ``core`` all the while."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(process.pid, {core})
        yield
    finally:
        process.kill()
        process.wait()
