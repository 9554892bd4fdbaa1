"""Which task gets the next batch of trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from tvm_flow.ir.tasks import Task
from tvm_flow.tuning.search.state import TaskState

_WINDOW = 24  # trials over which the rate of improvement is taken
# Ratios of times: what tuning may gain over defaults, and over the best of a first batch.
_FAR_BEHIND, _STILL_BEHIND = 1.12, 1.25
_HOPE = 0.1  # improvement expected of a task that was hardly tried
_FEWEST = 3  # candidates in a batch, however long they take


def next_task(states: Sequence[TaskState]) -> TaskState | None:
    """The task to propose for next, or ``None`` if none is worth another trial.

    Every task gets its turn before any gets another; after each had its default and one batch,
    the one comes first where most is likely to be gained for the time that a trial takes: blocks
    with Strassen's product, for one, are slow to compile (decision 0018).
    """
    open_states = [state for state in contenders(states) if not state.finished()]
    if not open_states:
        return None
    fewest = min(state.batches for state in open_states)
    if fewest < 2:  # the first is the default alone
        return next(state for state in open_states if state.batches == fewest)
    best = best_of_layers(states)
    return max(
        open_states,
        key=lambda state: gain(state, to_beat(state.task, best)) / state.trial_cost_s,
    )


def best_of_layers(states: Sequence[TaskState]) -> dict[str, float]:
    """The fastest known way to compute each layer, in seconds."""
    best: dict[str, float] = {}
    for state in states:
        key = state.task.problem.key
        best[key] = min(state.best_s, best.get(key, float("inf")))
    return best


def to_beat(task: Task, best: Mapping[str, float]) -> float:
    """The fastest way to compute what ``task`` does, in seconds: of its layers, or of its parts one
    after the other. ``best`` as :func:`best_of_layers` makes it."""
    apart = [best.get(part, math.inf) for part in task.parts]
    return min(best[task.problem.key], sum(apart) if apart else math.inf)


def contenders(states: Sequence[TaskState]) -> list[TaskState]:
    """Tasks the network may come to use. Of several ways to compute a layer, those whose default
    is far behind the others' are out at once, and later those that stay behind: a FasterNet block
    has six ways, and each takes seconds to compile. What earlier runs found does not count against
    a default that was never tried: schedules may have a better one since.
    """
    best = best_of_layers(states)

    def competes(state: TaskState) -> bool:
        limit = _FAR_BEHIND if len(state.times) < 2 else _STILL_BEHIND
        untried = not state.times or not state.default_tried
        return untried or state.best_s <= limit * to_beat(state.task, best)

    return [state for state in states if competes(state)]


def gain(state: TaskState, best_s: float) -> float:
    """Seconds of the network's time that a batch may be expected to save.

    ``best_s``: of the fastest way to compute the same layers; only what gets below it is saved.
    """
    if not state.times:
        return float("inf")  # nothing works yet; it is given up soon if that stays so
    before = state.bests[-_WINDOW] if len(state.bests) >= _WINDOW else state.bests[0]
    rate = (before - state.best_s) / before if before != float("inf") else _HOPE
    hope = _HOPE / (1 + state.since_improvement / _WINDOW)
    expected = state.best_s * (1 - max(rate, hope))
    return state.task.count * max(0.0, best_s - expected) / (1 + state.pending)


def batch_size(states: Sequence[TaskState], state: TaskState, most: int, left: int | None) -> int:
    """How many candidates ``state`` may propose when ``left`` trials remain for all tasks.

    Never more than that: what is proposed counts as seen, and would not be proposed again. Where
    trials take long, batches are smaller: tasks are to learn of each other in time.
    """
    if state.batches == 0:
        return 1
    usual = median(other.trial_cost_s for other in states)
    most = min(most, max(_FEWEST, round(most * usual / state.trial_cost_s)))
    if left is None:
        return most
    if state.batches > 1:
        return max(1, min(most, left))
    waiting = sum(other.batches < 2 and not other.finished() for other in contenders(states))
    return max(1, min(most, left // max(1, waiting)))
