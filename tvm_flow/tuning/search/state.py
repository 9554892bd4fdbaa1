"""What the tuner knows of one task while it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from tvm_flow.backends import CPU, Backend
from tvm_flow.ir.tasks import Task
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import FrozenKnobs, Record, freeze
from tvm_flow.tuning.records.store import RecordStore, in_space
from tvm_flow.tuning.search.cost_model import Features, Lesson
from tvm_flow.tuning.search.proposals import Search, in_order
from tvm_flow.tuning.search.report import TaskReport
from tvm_flow.tuning.worker.protocol import KernelRequest

#: A new best counts as an improvement only if it is this much faster: less is noise.
_IMPROVEMENT = 0.99
_HOPELESS = 2000  # choices without a kernel after which a task is given up
_INFINITY = float("inf")
_TYPICAL_BUILD_S, _TYPICAL_RUN_S = 0.3, 0.06  # on a fast core


@dataclass
class TaskState:
    """Progress of one task; made by :meth:`begin`, fed by :meth:`note`.

    ``since_improvement``: trials since the best got better; ``bests``: best time after each trial;
    ``pending``: proposed, not measured yet; ``batches``: proposals of this run; ``current``: times
    of the last closing comparison and of what was tried after it; ``builds``: seconds that
    each candidate of this run took to build; ``runs``: the same about measuring those that worked.
    """

    task: Task
    kernel: KernelRequest
    macs: int
    peak_gflops: float
    default: Knobs
    search: Search
    early_stop: int | None
    give_up: int
    times: dict[FrozenKnobs, float] = field(default_factory=dict)
    failed: set[FrozenKnobs] = field(default_factory=set)
    invalid: set[FrozenKnobs] = field(default_factory=set)
    failures: Counter[str] = field(default_factory=Counter)
    bests: list[float] = field(default_factory=list)
    since_improvement: int = 0
    measured: int = 0
    pending: int = 0
    batches: int = 0
    current: dict[FrozenKnobs, float] = field(default_factory=dict)
    session: str | None = None
    builds: dict[FrozenKnobs, float] = field(default_factory=dict)
    runs: dict[FrozenKnobs, float] = field(default_factory=dict)

    @classmethod
    def begin(
        cls,
        task: Task,
        board: Board,
        store: RecordStore,
        *,
        threads: int,
        seed: int,
        early_stop: int | None,
        options: TuneOptions,
        label: str = "measured",
        backend: Backend = CPU,
    ) -> TaskState:
        """Set up a task and replay what earlier runs recorded about it with the same ``label``."""
        device, problem = backend.device(board, threads), task.problem
        algorithm = backend.algorithm(task.workload)
        space, default = algorithm.space(problem, device), algorithm.default(problem, device)
        past = [r for r in store.of(task.workload, threads) if r.label == label]
        search = Search(
            space,
            default,
            Features(task.workload, space),
            seen={record.frozen_knobs for record in past},
            seed=seed,
        )
        state = cls(
            task,
            KernelRequest.of(task.workload, algorithm, board, device),
            algorithm.operator.macs(problem),
            backend.peak_gflops(board, threads),
            default,
            search,
            early_stop,
            options.give_up,
        )
        for record in past:
            if in_space(record.knobs, space):
                state._replay(record)
        state.failures.clear()  # those were reported when they happened
        return state

    def _replay(self, record: Record) -> None:
        if record.stage == "final":
            self.confirm(record.frozen_knobs, record.seconds, record.session)
        else:
            self._learn(record.frozen_knobs, record.status, record.seconds)

    @property
    def best_s(self) -> float:
        return min(self.current.values(), default=_INFINITY)

    @property
    def best_knobs(self) -> FrozenKnobs | None:
        return min(self.current, key=lambda knobs: self.current[knobs], default=None)

    @property
    def trial_cost_s(self) -> float:
        """Seconds of tuning that a trial costs, about: it is built, checked and measured."""
        builds = list(self.builds.values()) or [_TYPICAL_BUILD_S]
        return sum(builds) / len(builds) + _TYPICAL_RUN_S

    @property
    def default_s(self) -> float | None:
        return self.times.get(freeze(self.default))

    @property
    def default_tried(self) -> bool:
        """Whether the present default was tried, in this run or before."""
        knobs = freeze(self.default)
        return knobs in self.times or knobs in self.failed or knobs in self.invalid

    @property
    def trials(self) -> int:
        """Choices of knobs tried, in this run and before."""
        return len(self.times) + len(self.failed)

    def settled(self) -> str:
        """Why another trial would be wasted, or an empty text."""
        if not self.times and len(self.failed) >= self.give_up:
            return "every trial failed"
        if not self.times and len(self.invalid) >= _HOPELESS:
            return "no kernel exists for any choice tried"
        if self.early_stop is not None and self.since_improvement >= self.early_stop:
            return f"no gain in {self.since_improvement} trials"
        return ""

    def finished(self) -> str:
        """Why there is nothing more to propose, or an empty text."""
        return self.settled() or ("whole space tried" if self.search.exhausted else "")

    def note(self, knobs: Knobs, status: str, seconds: float) -> None:
        """A trial of this run ended; ``invalid`` ones are not trials but something to learn."""
        if status == "invalid":
            self.invalid.add(freeze(knobs))
            return
        self.measured += 1
        self._learn(freeze(knobs), status, seconds)

    def _learn(self, knobs: FrozenKnobs, status: str, seconds: float) -> None:
        improved = seconds < _IMPROVEMENT * self.best_s
        self.since_improvement = 0 if improved else self.since_improvement + 1
        if status == "ok":
            self.times[knobs] = self.current[knobs] = seconds
        else:
            self.failed.add(knobs)
            self.failures[status] += 1
        self.bests.append(self.best_s)

    def confirm(self, knobs: FrozenKnobs, seconds: float, session: str) -> None:
        """The time of a finalist in the closing comparison of ``session``."""
        if session != self.session:
            self.current, self.session = {}, session
        self.times[knobs] = self.current[knobs] = seconds

    def good(self) -> list[Knobs]:
        """What worked, fastest first."""
        return in_order(self.times)

    def lesson(self) -> Lesson:
        """What the cost model learns about speed: seconds per call, infinity where it failed."""
        bad = self.failed | self.invalid
        knobs = [dict(choice) for choice in (*self.times, *bad)]
        return (
            self.search.features,
            knobs,
            np.array([*self.times.values(), *[_INFINITY] * len(bad)]),
        )

    def build_lesson(self) -> Lesson:
        """The same about building."""
        knobs = [dict(choice) for choice in self.builds]
        return self.search.features, knobs, np.array(list(self.builds.values()))

    def report(self) -> TaskReport:
        best = self.best_knobs
        return TaskReport(
            self.task,
            self.macs,
            self.peak_gflops,
            self.trials,
            self.measured,
            self.default_s,
            self.current[best] if best is not None else None,
            dict(best) if best is not None else None,
            self.finished() or ("active" if self.batches else "waiting"),
            dict(self.failures),
        )
