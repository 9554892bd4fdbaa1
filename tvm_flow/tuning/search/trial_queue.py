"""Candidates on their way: built on some cores while another is measured on its own."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.tuning.records.record import FrozenKnobs, freeze
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.worker.bench import TrialRunner
from tvm_flow.tuning.worker.builder import Builder, BuiltKernel
from tvm_flow.tuning.worker.protocol import Outcome

_TURN = 16  # candidates built before any is measured, where a core does both
_AHEAD = 2  # built candidates in stock per builder
_IDLE_S = 0.5


@dataclass(frozen=True)
class Job:
    """One candidate of one task."""

    state: TaskState
    knobs: Knobs


class Shelf:
    """Libraries that the closing comparison will want: of each task the ``most`` fastest and the
    default. Others are deleted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, dict[FrozenKnobs, tuple[float, BuiltKernel]]] = {}

    def put(self, job: Job, built: BuiltKernel, seconds: float) -> None:
        kept = self._kept.setdefault(job.state.task.workload.key, {})
        kept[freeze(job.knobs)] = seconds, built
        default = freeze(job.state.default)
        for knobs in sorted(kept.keys() - {default}, key=lambda k: kept[k][0])[self._most :]:
            kept.pop(knobs)[1].discard()

    def get(self, job: Job) -> BuiltKernel | None:
        kept = self._kept.get(job.state.task.workload.key, {})
        return kept[freeze(job.knobs)][1] if freeze(job.knobs) in kept else None


class TrialQueue:
    """Feed it jobs while :attr:`room` lasts; :meth:`step` gives back those that are done.

    With ``overlap`` building and measuring go on at once; else builders on measuring cores pause
    while :data:`_TURN` candidates are measured, and others go on. Libraries of the ``finalists``
    best of each task are kept for :meth:`compare`.
    """

    def __init__(
        self, builder: Builder, runner: TrialRunner, overlap: bool, finalists: int
    ) -> None:
        self._builder, self.runner, self._overlap = builder, runner, overlap
        self._measuring = overlap  # whether trials may begin
        self._shelf = Shelf(finalists)
        self._numbers = itertools.count()
        self._building: dict[Future[BuiltKernel], tuple[int, Job]] = {}
        self._ready: list[tuple[int, Job, BuiltKernel]] = []  # a heap: first fed, first measured
        self._running: dict[Future[Outcome], tuple[Job, BuiltKernel]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._building or self._ready or self._running)

    @property
    def load(self) -> int:
        """Candidates that are built, wait or are measured."""
        return len(self._building) + len(self._ready) + len(self._running)

    @property
    def on_their_way(self) -> tuple[list[Job], list[Job]]:
        """Candidates that are not built yet, and those that are not measured yet."""
        building = [job for _, job in self._building.values()]
        built = [job for _, job, _ in self._ready]
        return building, [*building, *built, *(job for job, _ in self._running.values())]

    @property
    def builders(self) -> int:
        return self._builder.workers

    def keeps(self, job: Job) -> bool:
        """Whether :meth:`compare` finds the candidate's library built."""
        return self._shelf.get(job) is not None

    @property
    def room(self) -> int:
        """Candidates that may be fed now."""
        ready, workers = len(self._ready), self._builder.workers
        if self._overlap:
            most = self.runner.slots - 1 + (1 + _AHEAD) * workers - ready
        elif self._measuring:
            most = (1 + _AHEAD) * self._builder.undisturbing
        else:  # so many that no worker is idle before the last of the turn is built
            most = _TURN + workers - ready
        return most - len(self._building)

    def feed(self, job: Job) -> None:
        job.state.pending += 1
        building = self._builder.submit(job.state.kernel, job.knobs)
        self._building[building] = next(self._numbers), job

    def step(self, timeout_s: float) -> list[tuple[Job, Outcome]]:
        """Wait for something to happen, at most ``timeout_s``; what is done, in order."""
        self._start_next()
        pending: set[Future[Any]] = {*self._building, *self._running}
        finished, _ = wait(pending, timeout_s, FIRST_COMPLETED)
        done: list[tuple[Job, Outcome]] = []
        for trial in [future for future in self._running if future in finished]:
            (job, built), outcome = self._running.pop(trial), trial.result()
            if outcome.median_s is None:
                built.discard()
            else:
                job.state.runs[freeze(job.knobs)] = outcome.spent_s
                self._shelf.put(job, built, outcome.median_s)
            done.append((job, outcome))
        self._start_next()
        for build in [future for future in self._building if future in finished]:
            (number, job), built = self._building.pop(build), build.result()
            if built.status == "ok":
                job.state.builds[freeze(job.knobs)] = built.seconds
                heapq.heappush(self._ready, (number, job, built))
            else:
                done.append((job, Outcome(built.status, built.cause)))
        self._start_next()
        for job, _ in done:
            job.state.pending -= 1
        return done

    def _take_turns(self) -> None:
        """Let builders on measuring cores pause, or go on."""
        if self._overlap:
            return
        if self._measuring:
            turn = bool(self._ready or self._running)
        else:
            turn = len(self._ready) >= _TURN or (bool(self._ready) and not self._building)
        if turn != self._measuring:
            self._measuring = turn
            self._builder.hold(turn)

    def _start_next(self) -> None:
        self._take_turns()
        if not self._measuring or not self._builder.quiet:
            return
        while self._ready and len(self._running) < self.runner.slots:
            _, job, built = heapq.heappop(self._ready)
            if job.state.settled():  # while this one was on its way
                job.state.pending -= 1
                built.discard()
                continue
            trial = self.runner.submit(job.state.kernel, built, job.state.best_s)
            self._running[trial] = job, built
        self._take_turns()  # all that was ready may have been dropped

    def compare(self, jobs: list[Job], idle: Callable[[], None]) -> list[Outcome]:
        """Measure ``jobs`` of one task in turns while nothing is built; those that were built in
        an earlier run are built first. ``idle`` is called again and again meanwhile."""
        self._builder.hold(False)
        waiting = {
            at: self._builder.submit(job.state.kernel, job.knobs)
            for at, job in enumerate(jobs)
            if self._shelf.get(job) is None
        }
        fresh = {at: future.result() for at, future in waiting.items()}
        try:
            for built in fresh.values():
                if built.status != "ok":
                    return [Outcome(built.status, built.cause)] * len(jobs)
            builds = [fresh.get(at) or self._shelf.get(job) for at, job in enumerate(jobs)]
            ready = [built for built in builds if built is not None]
            measured = self.runner.compare(jobs[0].state.kernel, ready)
            while not wait([measured], _IDLE_S).done:
                idle()
            return measured.result()
        finally:
            for built in fresh.values():
                built.discard()
