"""What is tuned: one task per problem of a network and algorithm for it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload


@dataclass(frozen=True)
class Task:
    """One workload, how often the network runs it, and the PyTorch modules it computes.

    Tasks of the same problem are ways to compute the same layers (direct, Winograd); the network
    uses the fastest. ``parts`` are the keys of other problems that together are what this one is,
    each as often as it is named.
    """

    workload: Workload
    count: int = 1
    modules: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call, of the direct algorithm."""
        return registry.operator(self.problem.op).macs(self.problem)

    @property
    def problem(self) -> Problem:
        return self.workload.problem


def merge(tasks: Iterable[Task]) -> list[Task]:
    """One task per workload in order of first appearance; counts and modules add up."""
    merged: dict[str, Task] = {}
    for task in tasks:
        key = task.workload.key
        known = merged.get(key, Task(task.workload, 0))
        count, modules = known.count + task.count, known.modules + task.modules
        merged[key] = replace(task, count=count, modules=modules)
    return list(merged.values())


def network_seconds(times: Iterable[tuple[Task, float]]) -> float:
    """What a network takes whose tasks take so many seconds per call: the fastest way to compute
    each layer counts, and of a chain of layers the fused operator where it beats their sum."""
    tasks: dict[str, Task] = {}
    best: dict[str, float] = {}
    for task, seconds in times:
        key = task.problem.key
        tasks[key] = task
        best[key] = min(seconds, best.get(key, math.inf))
    total = sum(task.count * best[key] for key, task in tasks.items() if not task.parts)
    for key, task in tasks.items():
        if task.parts and total < math.inf:
            apart = sum(best.get(part, math.inf) for part in task.parts)
            total -= task.count * max(0.0, apart - best[key])
    return total


def one_way(tasks: Iterable[Task]) -> list[Task]:
    """The first way to compute each layer."""
    found: dict[str, Task] = {}
    for task in tasks:
        if not task.parts:
            found.setdefault(task.problem.key, task)
    return list(found.values())
