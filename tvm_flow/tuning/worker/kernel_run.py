"""In the run worker: check a candidate's result, then time it.

In a network a kernel meets its weights cold: the other layers' weights have pushed them into a far
cache or into memory since. So calls take several copies of the weights in turn, together as large
as all weights of the network; with warm weights the tuner prefers tilings that are up to 10 %
slower in the network. The copies follow each other in huge pages, as the weights of a bundle do.
Each of several repeats is a mean over enough calls to last milliseconds (a call from Python adds
about a microsecond, the same for every candidate); a repeat during which the core was taken away is
noticed by the CPU clock falling behind the wall clock, one in which a thread mostly had no part by
the pool's own count, and both are replaced.
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import tvm

from tvm_flow.runtime.library import use_threads
from tvm_flow.runtime.weights import huge_block
from tvm_flow.schedules.contract.base import Array, Cpu
from tvm_flow.support.channel import Message
from tvm_flow.tuning.worker.kernel_build import SYMBOL, one_line
from tvm_flow.tuning.worker.problem import Problem, WrongResult, problem

REPEATS = 10
#: A candidate this much slower than the best known gets so few repeats only: no more is to be known
#: of it than that it is slow.
HOPELESS = {1: 2.0, 3: 1.2, 6: 1.05}
#: Share of wall time a repeat must have had the core for.
_UNDISTURBED = 0.95
#: Loops per call that a thread may miss: the shortest are done before it comes.
_MISSED = 0.5
#: Median over 10th percentile of a quiet core. Above it something else (a neighbour of a virtual
#: machine, the other thread of the core) slows it down now and then.
_QUIET = 1.08
#: Copies of the weights add up to this many times L2 at least, unless that takes more than
#: `_MOST_COPIES`, and to `_MOST_COLD` bytes at most: no core has that much cache to itself.
_COLD = 4
_MOST_COPIES, _MOST_UPLOADED = 256, 32
_MOST_COLD = 1 << 26
_LINE = 64
_PATIENCE = 4  # times the usual number of repeats, while the core is not quiet


def handle(request: Message) -> Message:
    """Answer ``prepare``, ``measure`` or ``compare``; see the functions of these names."""
    try:
        given = prepare(request)
    except Exception as error:  # of the operator family
        return {"status": "run_error", "cause": f"reference: {one_line(error)}"}
    if request["action"] == "prepare":
        return {"status": "ok"}
    action = measure if request["action"] == "measure" else compare
    try:
        return action(given, request)
    except WrongResult as error:
        return {"status": "wrong_result", "cause": str(error)[:300]}
    except Exception as error:  # whatever a kernel raises is its own fault
        return {"status": "run_error", "cause": one_line(error)}


def prepare(request: Message) -> Problem:
    """Make or recall the inputs and the reference outputs of a workload."""
    return problem(
        request["workload"],
        Cpu(**request["cpu"]),
        kind=request["target"]["kind"],
        family_module=request["family_module"],
        seed=request["seed"],
        cache=request["cache"],
    )


def measure(given: Problem, request: Message) -> Message:
    """Check and time one candidate within about ``budget_s``; ``best_s`` is the time to beat."""
    clock = clock_of(given, request["libraries"][0], request)
    time_one(clock, request["budget_s"], request["best_s"])
    return {"status": "ok", **clock.summary()}


def compare(given: Problem, request: Message) -> Message:
    """Check several candidates, then time them in turns, at least ``rounds`` times."""
    clocks = [clock_of(given, library, request) for library in request["libraries"]]
    time_in_turns(clocks, request["budget_s"], request["rounds"])
    return {"status": "ok", "results": [clock.summary() for clock in clocks]}


def time_one(clock: Clock, budget_s: float, best_s: float) -> None:
    """Repeats of one candidate in about ``budget_s``, few of one far slower than ``best_s``."""
    while clock.attempts < REPEATS or clock.restless:
        clock.repeat(budget_s / REPEATS)
        slower = HOPELESS.get(len(clock.repeats), math.inf)
        hopeless = clock.repeats and min(clock.repeats) > slower * best_s
        long = clock.spent_s > _PATIENCE * budget_s and len(clock.repeats) >= 3
        if hopeless or long:
            break


def time_in_turns(clocks: Sequence[Clock], budget_s: float, rounds: int) -> None:
    """At least ``rounds`` repeats of each candidate, more while the core is not quiet."""
    for done in range(_PATIENCE * rounds):
        if done >= rounds and not any(clock.restless for clock in clocks):
            break
        for clock in clocks:
            clock.repeat(budget_s / REPEATS)


def _none_missed() -> int:
    return 0


@dataclass
class Clock:
    """Times of one kernel: ``call(n)`` runs it n times and gives the mean seconds per call.

    ``absences`` counts the loops so far in which a thread of the kernel's pool had no part.
    """

    call: Callable[[int], float]
    one_thread: bool
    absences: Callable[[], int] = _none_missed
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

    def summary(self) -> Message:
        """Median and percentiles of the clean repeats, or of all if not one was clean."""
        used = self.repeats or self.disturbed
        p10, median, p90 = (float(v) for v in np.percentile(used, (10, 50, 90)))
        share = len(self.disturbed) / self.attempts
        return {"median_s": median, "p10_s": p10, "p90_s": p90, "disturbed": share}


def clock_of(given: Problem, library: Message, request: Message) -> Clock:
    """Load a candidate, check it, and give it a clock over its own buffers.

    Raises :class:`WrongResult`; nothing that computes wrong numbers is ever timed.
    """
    module = tvm.runtime.load_module(library["path"])
    kernel, threads = module[SYMBOL], request["cpu"]["threads"]
    absences: Callable[[], int] = _none_missed
    if threads > 1:
        use_threads(module, threads, sorted(os.sched_getaffinity(0)), pin=False)
        absences = module["tvm_flow_pool_absences"]
    buffers, shapes = given.buffers(), library["shapes"]
    arguments = [buffer.tensor(shape) for buffer, shape in zip(buffers, shapes, strict=True)]
    kernel(*arguments)
    given.check(buffers, request["tolerance"])
    cold = max(_COLD * request["cpu"]["l2_bytes"], request["cold_bytes"])
    turns = itertools.cycle(_cold_sets(given, arguments, shapes, cold))

    def call(number: int) -> float:
        start = time.perf_counter()
        for chosen in itertools.islice(turns, number):
            kernel(*chosen)
        return (time.perf_counter() - start) / number

    return Clock(call, threads == 1, absences)


def cold_copies(given: Problem, l2_bytes: int) -> int:
    """How many copies of the weights a board makes, one call each, so that they push each other
    out of L2; 1 without weights."""
    return min(_MOST_UPLOADED, _copies(_copy_bytes(given), _COLD * l2_bytes))


def _copies(copy_bytes: int, cold_bytes: int) -> int:
    wanted = math.ceil(min(cold_bytes, _MOST_COLD) / copy_bytes) if copy_bytes else 1
    return min(_MOST_COPIES, wanted)


def _copy_bytes(given: Problem) -> int:
    """Bytes of one copy of the weights, each array at the start of a cache line."""
    return sum(-(-given.given[at].nbytes // _LINE) * _LINE for at in given.weights)


def _cold_sets(
    given: Problem, arguments: Sequence[Any], shapes: Sequence[Sequence[int]], cold_bytes: int
) -> list[list[Any]]:
    """Sets of arguments that differ in their copy of the weights."""
    sets = []
    for copy in _copied_weights(given, cold_bytes):
        chosen = list(arguments)
        for at, values in copy.items():
            chosen[at] = tvm.runtime.from_dlpack(values.reshape(shapes[at]))
        sets.append(chosen)
    return sets


@lru_cache(maxsize=1)
def _copied_weights(given: Problem, cold_bytes: int) -> list[dict[int, Array]]:
    """Copies of the weights by place among the arguments; candidates of a workload share them."""
    size = _copy_bytes(given)
    count = _copies(size, cold_bytes)
    block, start, copies = huge_block(count * size), 0, []
    for _ in range(count):
        copy = {}
        for at in given.weights:
            values = given.given[at]
            copy[at] = block[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
            copy[at][...] = values
            start += -(-values.nbytes // _LINE) * _LINE
        copies.append(copy)
    return copies
