"""What tuning has achieved so far: the return value of the tuner and what progress shows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from tvm_flow.ir.tasks import Task, network_seconds
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Workload

Phase = Literal["search", "final", "done"]
EventKind = Literal["start", "trial", "note", "final", "stop"]


@dataclass(frozen=True)
class TaskReport:
    """One task. Times are seconds per call, ``None`` if there is none; ``trials`` counts choices
    of knobs tried in this and earlier runs, ``measured`` those of this run; ``state`` is
    ``waiting``, ``active`` or why the task needs no more trials."""

    task: Task
    macs: int
    peak_gflops: float
    trials: int
    measured: int
    default_s: float | None
    best_s: float | None
    best_knobs: Knobs | None
    state: str
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s of the best kernel (1 multiply-accumulate = 2 FLOPs)."""
        return 2e-9 * self.macs / self.best_s if self.best_s else None

    @property
    def percent_of_peak(self) -> float | None:
        """Of the peak of the measured threads; ``None`` if that is unknown."""
        return 100 * self.gflops / self.peak_gflops if self.gflops and self.peak_gflops else None

    @property
    def speedup(self) -> float | None:
        """Time of the default over the time of the best."""
        return self.default_s / self.best_s if self.default_s and self.best_s else None


@dataclass(frozen=True)
class TuneReport:
    """A tuner run, finished or not.

    ``measured``: trials of this run; ``total``: with those of earlier runs; ``target``: the total
    asked for; ``skipped``: choices of knobs that no kernel exists for (no trials); ``phase``: what
    is going on; ``stopped``: why it ended; ``notes``: remarks for the user, one line each;
    ``label``: what the times are, one of :data:`tvm_flow.tuning.records.record.LABELS`.
    """

    tasks: tuple[TaskReport, ...]
    threads: int
    seconds: float
    measured: int
    skipped: int
    target: int | None = None
    limit_s: float | None = None
    phase: Phase = "search"
    stopped: str = ""
    interrupted: bool = False
    notes: tuple[str, ...] = ()
    label: str = "measured"

    @property
    def total(self) -> int:
        return sum(task.trials for task in self.tasks)

    @property
    def failures(self) -> Counter[str]:
        """Failed trials of this run by status."""
        return sum((Counter(task.failures) for task in self.tasks), Counter())

    @property
    def default_latency_s(self) -> float | None:
        """Estimated time of the network with default knobs: the sum of count × time."""
        return _weighted((task.task, task.default_s) for task in self.tasks)

    @property
    def best_latency_s(self) -> float | None:
        """The same with the best known knobs."""
        return _weighted((task.task, task.best_s) for task in self.tasks)

    @property
    def trials_per_minute(self) -> float:
        return 60 * self.measured / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until a limit is reached at the present pace; ``None`` if there is no limit."""
        left = []
        if self.target is not None and self.measured:
            left.append((self.target - self.total) * self.seconds / self.measured)
        if self.limit_s is not None:
            left.append(self.limit_s - self.seconds)
        return max(0.0, min(left)) if left else None


@dataclass(frozen=True)
class TuneEvent:
    """Something happened: ``start``, a ``trial``, a ``note``, a ``final`` comparison, or ``stop``.
    ``message`` tells it in one line; ``report`` is the state of affairs after it; ``workload`` is
    what it is about, if it is about one."""

    kind: EventKind
    message: str
    report: TuneReport
    workload: Workload | None = None


OnEvent = Callable[[TuneEvent], None]


def _weighted(pairs: Iterable[tuple[Task, float | None]]) -> float | None:
    """Sum of count × seconds, of the fastest way to compute the same layers; ``None`` if layers
    have no time at all."""
    total = network_seconds((task, math.inf if s is None else s) for task, s in pairs)
    return None if total == math.inf else total
