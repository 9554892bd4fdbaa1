"""Checks and times candidates in a sub-process pinned to the measuring cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tvm_flow.measure.kernel_timer import REPEATS
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.builder import BuiltKernel
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess
from tvm_flow.tuning.worker.protocol import (
    RUN,
    Answer,
    CompareRequest,
    Comparison,
    KernelRequest,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    TrialRequest,
    TrialSettings,
    WorkerRole,
)

A = TypeVar("A", bound=Answer)


def compare_s(
    trials_s: Sequence[float], calls_s: Sequence[float], options: TuneOptions, rounds: int
) -> float:
    """How long so many ``rounds`` of candidates take: what a trial of each took, and the repeats
    that it had less. Those last their share of the budget, or one call where that is longer."""
    share_s = options.trial_budget_s / REPEATS
    more = [(rounds - REPEATS) * max(share_s, call_s) for call_s in calls_s]
    return sum(max(0.0, trial + repeats) for trial, repeats in zip(trials_s, more, strict=True))


class Runner:
    """One worker of the given ``role``. ``folder`` keeps reference outputs for the next one after
    a crash."""

    slots = 1

    def __init__(
        self, plan: CorePlan, folder: Path, options: TuneOptions, seed: int, *,
        role: WorkerRole = RUN,
    ) -> None:  # fmt: skip
        environment = {
            "TVM_NUM_THREADS": str(len(plan.measure)),
            "TVM_BIND_THREADS": "0",  # the process is confined already
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",  # a spinning pool would disturb
        }
        self._options = options
        self._settings = TrialSettings.of(options, folder, seed)
        self._worker = WorkerProcess(role, plan.measure, environment, folder / f"{role.name}.log")
        self._prepared: set[str] = set()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="runner")
        self._executor.submit(self._worker.start)  # ready when the first candidate is built

    def submit(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Future[Outcome]:
        """Start one trial; ``best_s`` is the best time of its task so far (or infinity)."""
        return self._executor.submit(self._measure, kernel, built, best_s)

    def compare(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> Future[list[Outcome]]:
        """Start measuring several candidates in turns; all fail if one does."""
        return self._executor.submit(self._compare, kernel, built)

    def compare_s(self, trials_s: Sequence[float], calls_s: Sequence[float]) -> float:
        """Seconds that :meth:`compare` may be expected to take."""
        return compare_s(trials_s, calls_s, self._options, self._options.final_rounds)

    def notes(self) -> Sequence[str]:
        """Nothing: other load is told from the outcomes."""
        return ()

    def close(self) -> None:
        """Kill the worker, also a busy one."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._worker.stop()
        self._executor.shutdown(wait=True)

    def _measure(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Outcome:
        request = MeasureRequest(kernel, self._settings, built.candidate, best_s)
        prepared = self._prepare(request)
        if not prepared.ok:
            return Outcome(prepared.status, prepared.cause)
        began = time.monotonic()
        outcome = self._ask(request, Outcome, self._options.trial_timeout_s)
        return replace(outcome, spent_s=time.monotonic() - began)

    def _compare(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> list[Outcome]:
        candidates = tuple(one.candidate for one in built)
        request = CompareRequest(kernel, self._settings, candidates, self._options.final_rounds)
        prepared = self._prepare(request)
        if not prepared.ok:
            return Comparison(prepared.status, prepared.cause).of_each(len(built))
        timeout_s = self._options.trial_timeout_s * (1 + len(built))
        return self._ask(request, Comparison, timeout_s).of_each(len(built))

    def _prepare(self, request: TrialRequest) -> Answer:
        """Have the reference computed, once per workload: it may take longer than a trial."""
        workload = request.kernel.workload
        if workload in self._prepared:
            return Answer(OK)
        first = PrepareRequest(request.kernel, request.settings)
        answer = self._ask(first, Answer, self._options.prepare_timeout_s)
        if answer.ok:
            self._prepared.add(workload)
        return answer

    def _ask(self, request: TrialRequest, answer: type[A], timeout_s: float) -> A:
        """The worker's answer, or one that tells of its death."""
        try:
            return self._worker.request(request, answer, timeout_s)
        except WorkerCrashed as error:
            return answer("crashed", str(error))
        except WorkerExpired as error:
            return answer("timeout", str(error))
