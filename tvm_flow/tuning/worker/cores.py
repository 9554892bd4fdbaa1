"""Which cores measure and which build, so that building does not disturb measuring."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board

_MOST_BUILDERS = 8
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True)
class CorePlan:
    """Cores for measuring and for everything else. Where some are both (``overlap`` is false),
    those build and measure by turns."""

    measure: tuple[int, ...]
    build: tuple[int, ...]

    @property
    def overlap(self) -> bool:
        return not set(self.measure) & set(self.build)

    @property
    def builders(self) -> int:
        return min(len(self.build), _MOST_BUILDERS)

    @property
    def calm(self) -> tuple[int, ...]:
        """Cores on which work does not disturb measuring."""
        return tuple(core for core in self.build if core not in self.measure)

    def cores_of(self, builder: int) -> tuple[int, ...]:
        """Where a builder works: wherever it can, or on a core of its own if some must pause."""
        return self.build if self.overlap else (self.build[builder],)


def plan_cores(board: Board, threads: int) -> CorePlan:
    """Measure on the board's first ``threads`` cores, build on the others.

    A single other core would have to build all by itself what the first measures in a fraction of
    the time; then both build, and on the first measuring has its turns (decision 0018).

    Raises :class:`UsageError` if this process may not use that many of the board's cores.
    """
    allowed = os.sched_getaffinity(0)
    usable = [core for core in board.cores if core in allowed]
    if not 1 <= threads <= len(usable):
        raise UsageError(
            f"Cannot measure with {threads} threads",
            why=f"{board.name} has {len(usable)} cores this process may use",
            fix=f"--threads 1 to {len(usable)}" if usable else "widen the CPU affinity (taskset)",
        )
    measure = tuple(usable[:threads])
    busy = {sibling for core in measure for sibling in _siblings(core)}
    others = tuple(sorted(allowed - busy))
    return CorePlan(measure, others if len(others) > 1 else tuple(sorted(allowed)))


@contextmanager
def confined(plan: CorePlan) -> Iterator[None]:
    """Keep this process (search, cost model) off the measuring cores for a while, if others are
    left."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, plan.calm or plan.build)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _siblings(core: int) -> set[int]:
    """Logical CPUs of the same physical core."""
    try:
        text = Path(_TOPOLOGY.format(core)).read_text()
    except OSError:
        return {core}
    found = {core}
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
