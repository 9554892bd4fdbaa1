"""The closing comparison: the best candidates of a task and its default, side by side."""

from __future__ import annotations

from collections.abc import Callable

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.search.trial_queue import Job, TrialQueue
from tvm_flow.tuning.worker.protocol import Outcome

Comparison = list[tuple[Knobs, Outcome]]


def worth_comparing(state: TaskState) -> bool:
    """Whether anything was tried since the last comparison, and more than the default works."""
    fresh = state.measured > 0 or state.session is None
    return fresh and len(state.times) > 1


def finalists(state: TaskState, most: int) -> list[Knobs]:
    """The ``most`` fastest, the winner of the last comparison, and the default if it works."""
    chosen = state.good()[:most]
    best = [dict(state.best_knobs)] if state.best_knobs is not None else []
    default = [state.default] if state.default_s is not None else []
    for knobs in best + default:
        if knobs not in chosen:
            chosen.append(knobs)
    return chosen


def compare(queue: TrialQueue, state: TaskState, most: int, idle: Callable[[], None]) -> Comparison:
    """Measure the finalists again, fastest first; empty if one of them failed this time. ``idle``
    is called again and again meanwhile.

    The caller records them in this order: should it be killed in between, the winner is there.
    """
    candidates = finalists(state, most)
    outcomes = queue.compare([Job(state, knobs) for knobs in candidates], idle)
    if any(outcome.median_s is None for outcome in outcomes):
        return []
    pairs = list(zip(candidates, outcomes, strict=True))
    return sorted(pairs, key=lambda pair: pair[1].median_s or 0.0)


def saving(state: TaskState) -> float:
    """Seconds of the network's time at stake: tasks with most of it are compared first."""
    default = state.default_s if state.default_s is not None else state.best_s
    return state.task.count * (default - state.best_s)
