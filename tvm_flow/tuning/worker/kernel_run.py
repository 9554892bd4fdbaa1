"""In the run worker: check a candidate's result, then time it.

In a network a kernel meets its weights cold: the other layers' weights have pushed them into a far
cache or into memory since. So calls take several copies of the weights in turn, together as large
as all weights of the network; with warm weights the tuner prefers tilings that stream them twice.
The copies follow each other in huge pages, as the weights of a bundle do (decision 0005).
"""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, TypeVar

import tvm

from tvm_flow.measure.huge_pages import huge_block
from tvm_flow.measure.kernel_pool import use_threads
from tvm_flow.measure.kernel_timer import KernelTimer, no_absences, time_in_turns, time_one
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.protocol import (
    SYMBOL,
    Answer,
    Candidate,
    CompareRequest,
    Comparison,
    Handlers,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    TrialRequest,
    one_line,
)
from tvm_flow.tuning.worker.trial_data import TrialData, WrongResult, trial_data

A = TypeVar("A", bound=Answer)
#: Copies of the weights add up to this many times L2 at least, unless that takes more than
#: `_MOST_COPIES`, and to `_MOST_COLD` bytes at most: no core has that much cache to itself.
_COLD = 4
_MOST_COPIES, _MOST_UPLOADED = 256, 32
_MOST_COLD = 1 << 26
_LINE = 64


def handlers() -> Handlers:
    """What a run worker does."""
    return {PrepareRequest: prepare, MeasureRequest: measure, CompareRequest: compare}


def prepare(request: PrepareRequest) -> Answer:
    """Make or recall inputs and reference outputs."""
    return guarded(Answer, request, lambda _given: Answer(OK))


def measure(request: MeasureRequest) -> Outcome:
    """Check and time one candidate within about ``budget_s``."""

    def timed(given: TrialData) -> Outcome:
        timer = timer_of(given, request.candidate, request)
        time_one(timer, request.settings.budget_s, request.best_s)
        return outcome_of(timer)

    return guarded(Outcome, request, timed)


def compare(request: CompareRequest) -> Comparison:
    """Check several candidates, then time them in turns, at least ``rounds`` times."""

    def timed(given: TrialData) -> Comparison:
        timers = [timer_of(given, candidate, request) for candidate in request.candidates]
        time_in_turns(timers, request.settings.budget_s, request.rounds)
        return Comparison(OK, "", tuple(map(outcome_of, timers)))

    return guarded(Comparison, request, timed)


def guarded(answer: type[A], request: TrialRequest, action: Callable[[TrialData], A]) -> A:
    """What ``action`` makes of the data in question, or an ``answer`` of what went wrong."""
    try:
        given = data_of(request)
    except Exception as error:  # of the operator
        return answer("run_error", f"reference: {one_line(error)}")
    try:
        return action(given)
    except WrongResult as error:
        return answer("wrong_result", str(error)[:300])
    except Exception as error:  # whatever a kernel raises is its own fault
        return answer("run_error", one_line(error))


def data_of(request: TrialRequest) -> TrialData:
    """Inputs and reference outputs of a kernel, made or recalled."""
    kernel, settings = request.kernel, request.settings
    return trial_data(
        kernel.workload,
        kernel.device,
        algorithm_module=kernel.algorithm_module,
        seed=settings.seed,
        cache=str(settings.cache),
    )


def outcome_of(timer: KernelTimer) -> Outcome:
    """The times of a candidate that computed what it should."""
    return Outcome(OK, **asdict(timer.summary()))


def timer_of(given: TrialData, candidate: Candidate, request: TrialRequest) -> KernelTimer:
    """Load a candidate, check it, and give it a timer over its own buffers.

    Raises :class:`WrongResult`; nothing that computes wrong numbers is ever timed.
    """
    module = tvm.runtime.load_module(str(candidate.library))
    device, settings = request.kernel.device, request.settings
    kernel, absences = module[SYMBOL], no_absences
    if device.threads > 1:
        use_threads(module, device.threads, sorted(os.sched_getaffinity(0)))
        absences = module["tvm_flow_pool_absences"]
    buffers, shapes = given.buffers(), candidate.shapes
    arguments = [buffer.tensor(shape) for buffer, shape in zip(buffers, shapes, strict=True)]
    kernel(*arguments)
    given.check(buffers, settings.tolerance)
    cold = max(_COLD * device.l2_bytes, settings.cold_bytes)
    turns = itertools.cycle(_cold_sets(given, arguments, shapes, cold))

    def call(number: int) -> float:
        start = time.perf_counter()
        for chosen in itertools.islice(turns, number):
            kernel(*chosen)
        return (time.perf_counter() - start) / number

    return KernelTimer(call, device.threads == 1, absences)


def cold_copies(given: TrialData, l2_bytes: int) -> int:
    """How many copies of the weights a board makes, one call each, so that they push each other
    out of L2; 1 without weights."""
    return min(_MOST_UPLOADED, _copies(_copy_bytes(given), _COLD * l2_bytes))


def _copies(copy_bytes: int, cold_bytes: int) -> int:
    wanted = math.ceil(min(cold_bytes, _MOST_COLD) / copy_bytes) if copy_bytes else 1
    return min(_MOST_COPIES, wanted)


def _copy_bytes(given: TrialData) -> int:
    """Bytes of one copy of the weights, each array at the start of a cache line."""
    return sum(-(-given.given[at].nbytes // _LINE) * _LINE for at in given.weights)


def _cold_sets(
    given: TrialData, arguments: Sequence[Any], shapes: Sequence[Sequence[int]], cold_bytes: int
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
def _copied_weights(given: TrialData, cold_bytes: int) -> list[dict[int, Array]]:
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
