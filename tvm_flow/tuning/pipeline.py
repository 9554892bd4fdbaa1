"""Candidates on their way: built on some cores while another is measured on its own."""

from __future__ import annotations

from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from schedules.base import Knobs
from tvm_flow.tuning.builder import Builder, Built
from tvm_flow.tuning.runner import Outcome, Runner
from tvm_flow.tuning.state import TaskState

_TURN = 8  # candidates built before any is measured, where both need the same cores
_AHEAD = 2  # built candidates in stock per builder


@dataclass(frozen=True)
class Job:
    """One candidate of one task."""

    state: TaskState
    knobs: Knobs


class Pipeline:
    """Feed it jobs while :attr:`room` lasts; :meth:`step` gives back those that are done.

    With ``overlap`` building and measuring go on at once, else by turns.
    """

    def __init__(self, builder: Builder, runner: Runner, *, overlap: bool) -> None:
        self._builder, self._runner, self._overlap = builder, runner, overlap
        self._building: dict[Future[Built], Job] = {}
        self._ready: deque[tuple[Job, Built]] = deque()
        self._running: tuple[Future[Outcome], Job, Built] | None = None

    @property
    def busy(self) -> bool:
        return bool(self._building or self._ready or self._running)

    @property
    def load(self) -> int:
        """Candidates in the pipeline."""
        return len(self._building) + len(self._ready) + (self._running is not None)

    @property
    def room(self) -> int:
        """Candidates that may be fed now."""
        if not self._overlap:
            return 0 if self._ready or self._running else _TURN - len(self._building)
        return (1 + _AHEAD) * self._builder.workers - len(self._building) - len(self._ready)

    def feed(self, job: Job) -> None:
        job.state.pending += 1
        self._building[self._builder.submit(job.state.kernel, job.knobs)] = job

    def step(self, timeout_s: float) -> list[tuple[Job, Outcome]]:
        """Wait for something to happen, at most ``timeout_s``; what is done, in order."""
        self._start_next()
        pending: set[Future[Any]] = set(self._building)
        if self._running:
            pending.add(self._running[0])
        finished, _ = wait(pending, timeout_s, FIRST_COMPLETED)
        done: list[tuple[Job, Outcome]] = []
        if self._running and self._running[0] in finished:
            future, job, built = self._running
            self._running = None
            built.discard()
            done.append((job, future.result()))
            self._start_next()
        for build in [future for future in self._building if future in finished]:
            job, built = self._building.pop(build), build.result()
            if built.status == "ok":
                self._ready.append((job, built))
            else:
                done.append((job, Outcome(built.status, built.cause)))
        self._start_next()
        for job, _ in done:
            job.state.pending -= 1
        return done

    def _start_next(self) -> None:
        if self._running or not self._ready or (self._building and not self._overlap):
            return
        job, built = self._ready.popleft()
        best = job.state.best_s
        self._running = self._runner.submit(job.state.kernel, built, best), job, built

    def compare(self, jobs: list[Job]) -> list[Outcome]:
        """Build ``jobs`` of one task, then measure them in turns while nothing is built."""
        futures = [self._builder.submit(job.state.kernel, job.knobs) for job in jobs]
        builds = [future.result() for future in futures]
        try:
            failed = [Outcome(built.status, built.cause) for built in builds if built.cause]
            if failed:
                return failed[:1] * len(jobs)
            return self._runner.compare(jobs[0].state.kernel, builds).result()
        finally:
            for built in builds:
                built.discard()
