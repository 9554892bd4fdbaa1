"""How much time a run keeps for what follows its search: what is on its way, and the comparison.

Too little, and the tasks that save least go without a comparison; too much, and the run ends early.
So it is reckoned from what building and measuring took in this very run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from tvm_flow.tuning.records.record import freeze
from tvm_flow.tuning.search import finals
from tvm_flow.tuning.search.scheduler import contenders
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.search.trial_queue import Job, TrialQueue

_TYPICAL_BUILD_S, _TYPICAL_RUN_S = 0.3, 0.06  # until this run knows better
#: All finalists of a task are timed until the last of them is steady; a trial waits for itself
#: only. On a noisy core a comparison therefore takes longer than its trials let expect.
_UNREST = 1.15
_REFRESH_S = 1.0  # the sum over all tasks takes milliseconds and changes slowly


@dataclass(frozen=True)
class Pace:
    """Seconds that building and measuring one candidate take, by key of its workload; ``any_build``
    and ``any_run`` for workloads of which this run has none."""

    builds: dict[str, float]
    runs: dict[str, float]
    any_build: float = _TYPICAL_BUILD_S
    any_run: float = _TYPICAL_RUN_S

    @classmethod
    def of(cls, states: Sequence[TaskState]) -> Pace:
        """The mean for builds, since a task's long ones belong to it; the median for runs, since a
        long one (a board that was away, a reference made anew) says nothing of the next."""
        builds = {s.task.workload.key: fmean(s.builds.values()) for s in states if s.builds}
        runs = {s.task.workload.key: median(s.runs.values()) for s in states if s.runs}
        return cls(
            builds,
            runs,
            fmean(builds.values()) if builds else _TYPICAL_BUILD_S,
            median(runs.values()) if runs else _TYPICAL_RUN_S,
        )

    def build_s(self, job: Job) -> float:
        known = job.state.builds.get(freeze(job.knobs))
        return known or self.builds.get(job.state.task.workload.key, self.any_build)

    def run_s(self, job: Job) -> float:
        known = job.state.runs.get(freeze(job.knobs))
        return known or self.runs.get(job.state.task.workload.key, self.any_run)


class Reserve:
    """The reserve of a run whose candidates go through ``queue`` and whose tasks are compared
    with ``finalists`` candidates each."""

    def __init__(self, queue: TrialQueue, finalists: int) -> None:
        self._queue, self._finalists = queue, finalists
        self._pace = Pace({}, {})
        self._comparison_s = 0.0
        self._due = 0.0

    def seconds(self, states: Sequence[TaskState]) -> float:
        """How long it takes from now to the end if nothing more is proposed."""
        if time.monotonic() >= self._due:
            self._pace = Pace.of(states)
            self._comparison_s = self._compare_s(contenders(states))
            self._due = time.monotonic() + _REFRESH_S
        return self._drain_s() + self._comparison_s

    def _drain_s(self) -> float:
        """Until the candidates in the queue are built and measured. Where both go on at once it
        takes less, but there the last is measured after it was built, and the sum is small."""
        unbuilt, unmeasured = self._queue.on_their_way
        builds = sum(self._pace.build_s(job) for job in unbuilt)
        runs = sum(self._pace.run_s(job) for job in unmeasured)
        return builds / self._queue.builders + runs / self._queue.runner.slots

    def _compare_s(self, states: Iterable[TaskState]) -> float:
        return _UNREST * sum(
            self._task_s(state) for state in states if finals.worth_comparing(state)
        )

    def _task_s(self, state: TaskState) -> float:
        """Tasks are compared one after the other, each on one board; only what an earlier run built
        is built again."""
        jobs = [Job(state, knobs) for knobs in finals.finalists(state, self._finalists)]
        builds = [self._pace.build_s(job) for job in jobs if not self._queue.keeps(job)]
        builders = min(self._queue.builders, max(1, len(builds)))
        trials = [self._pace.run_s(job) for job in jobs]
        calls = [state.times[freeze(job.knobs)] for job in jobs]
        return sum(builds) / builders + self._queue.runner.compare_s(trials, calls)
