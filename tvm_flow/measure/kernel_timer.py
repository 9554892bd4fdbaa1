"""Times of one kernel, alone or in turns with others: what the tuner and the benchmarks go by.

Each of several repeats is a mean over enough calls to last milliseconds (a call from Python adds
about a microsecond, the same for every candidate). A repeat during which the core was taken away is
noticed by the CPU clock falling behind the wall clock, one in which a thread mostly had no part by
the pool's own count, and both are replaced.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

REPEATS = 10
#: A candidate this much slower than the best known gets so few repeats only: no more is to be known
#: of it than that it is slow.
_HOPELESS = {1: 2.0, 3: 1.2, 6: 1.05}
#: Share of wall time a repeat must have had the core for.
_UNDISTURBED = 0.95
#: Loops per call that a thread may miss: the shortest are done before it comes.
_MISSED = 0.5
#: Median over 10th percentile of a quiet core. Above it something else (a neighbour of a virtual
#: machine, the other thread of the core) slows it down now and then.
_QUIET = 1.08
_PATIENCE = 4  # times the usual number of repeats, while the core is not quiet


@dataclass(frozen=True)
class KernelTimes:
    """Seconds per call: median, 10th and 90th percentile of the repeats. ``disturbed``: share of
    repeats that were thrown away because something else had the core."""

    median_s: float
    p10_s: float
    p90_s: float
    disturbed: float


def no_absences() -> int:
    """Of a kernel without a pool."""
    return 0


@dataclass
class KernelTimer:
    """Times of one kernel: ``call(n)`` runs it n times and gives the mean seconds per call.

    ``absences`` counts the loops so far in which a thread of the kernel's pool had no part.
    """

    call: Callable[[int], float]
    one_thread: bool
    absences: Callable[[], int] = no_absences
    repeats: list[float] = field(default_factory=list)
    disturbed: list[float] = field(default_factory=list)
    spent_s: float = 0.0
    _estimate: float = 0.0

    @property
    def attempts(self) -> int:
        return len(self.repeats) + len(self.disturbed)

    @property
    def restless(self) -> bool:
        """Whether more repeats are wanted: most of them were slower than some should be."""
        if len(self.repeats) < REPEATS:
            return self.attempts < _PATIENCE * REPEATS
        p10, median = np.percentile(self.repeats, (10, 50))
        return bool(median > _QUIET * p10) and self.attempts < _PATIENCE * REPEATS

    def repeat(self, share_s: float) -> None:
        """One repeat of about ``share_s`` seconds."""
        if not self._estimate:
            self._estimate = max(self.call(1), 1e-9)
        number = max(1, min(1_000_000, math.ceil(share_s / self._estimate)))
        absences, wall, cpu = self.absences(), time.perf_counter(), time.thread_time()
        seconds = self.call(number)
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        self.spent_s += wall
        self._estimate = min(self._estimate, seconds)
        clean = not self.one_thread or cpu >= _UNDISTURBED * wall
        clean = clean and self.absences() - absences <= _MISSED * number
        (self.repeats if clean else self.disturbed).append(max(seconds, 1e-9))

    def summary(self) -> KernelTimes:
        """Median and percentiles of the clean repeats, or of all if not one was clean."""
        used = self.repeats or self.disturbed
        p10, median, p90 = (float(v) for v in np.percentile(used, (10, 50, 90)))
        share = len(self.disturbed) / self.attempts
        return KernelTimes(median, p10, p90, share)


def time_one(timer: KernelTimer, budget_s: float, best_s: float) -> None:
    """Repeats of one candidate in about ``budget_s``, few of one far slower than ``best_s``."""
    while timer.attempts < REPEATS or timer.restless:
        timer.repeat(budget_s / REPEATS)
        slower = _HOPELESS.get(len(timer.repeats), math.inf)
        hopeless = timer.repeats and min(timer.repeats) > slower * best_s
        long = timer.spent_s > _PATIENCE * budget_s and len(timer.repeats) >= 3
        if hopeless or long:
            break


def time_in_turns(timers: Sequence[KernelTimer], budget_s: float, rounds: int) -> None:
    """At least ``rounds`` repeats of each candidate, more while the core is not quiet."""
    for done in range(_PATIENCE * rounds):
        if done >= rounds and not any(timer.restless for timer in timers):
            break
        for timer in timers:
            timer.repeat(budget_s / REPEATS)
