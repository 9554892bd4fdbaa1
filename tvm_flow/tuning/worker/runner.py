"""Checks and times candidates in a sub-process pinned to the measuring cores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tvm_flow.support.channel import Message
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.builder import BuiltKernel
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.kernel_run import REPEATS
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: a status of :mod:`tvm_flow.tuning.records.record`; times in seconds
    per call.

    ``disturbed``: share of repeats that were thrown away because something else had the core.
    ``spent_s``: how long the trial took, the computing of its task's reference left out.
    """

    status: str
    cause: str = ""
    median_s: float | None = None
    p10_s: float | None = None
    p90_s: float | None = None
    disturbed: float = 0.0
    spent_s: float = 0.0


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
    a crash; ``extra`` is added to every request."""

    slots = 1

    def __init__(
        self, plan: CorePlan, folder: Path, options: TuneOptions, seed: int, *,
        role: str = "run", extra: Message | None = None,
    ) -> None:  # fmt: skip
        environment = {
            "TVM_NUM_THREADS": str(len(plan.measure)),
            "TVM_BIND_THREADS": "0",  # the process is confined already
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",  # a spinning pool would disturb
        }
        self._options = options
        self._common = {
            "seed": seed,
            "cache": str(folder),
            "tolerance": options.tolerance,
            "cold_bytes": options.cold_bytes,
            **(extra or {}),
        }
        self._worker = WorkerProcess(role, plan.measure, environment, folder / f"{role}.log")
        self._prepared: set[str] = set()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="runner")
        self._executor.submit(self._worker.start)  # ready when the first candidate is built

    def submit(self, kernel: Message, built: BuiltKernel, best_s: float) -> Future[Outcome]:
        """Start one trial; ``best_s`` is the best time of its task so far (or infinity)."""
        return self._executor.submit(self._measure, kernel, built, best_s)

    def compare(self, kernel: Message, built: Sequence[BuiltKernel]) -> Future[list[Outcome]]:
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

    def _measure(self, kernel: Message, built: BuiltKernel, best_s: float) -> Outcome:
        # JSON has no infinity; a year is as good
        extra = {"libraries": [built.message], "best_s": min(best_s, 3e7)}
        answer = self._ask(kernel, {"action": "measure", **extra}, self._options.trial_timeout_s)
        return Outcome(**answer)

    def _compare(self, kernel: Message, built: Sequence[BuiltKernel]) -> list[Outcome]:
        options = self._options
        request = {
            "action": "compare",
            "libraries": [candidate.message for candidate in built],
            "rounds": options.final_rounds,
        }
        answer = self._ask(kernel, request, options.trial_timeout_s * (1 + len(built)))
        if answer["status"] != OK:
            return [Outcome(**answer)] * len(built)
        return [Outcome(OK, **result) for result in answer["results"]]

    def _ask(self, kernel: Message, request: Message, timeout_s: float) -> Message:
        """The worker's answer, or a status for its death; the reference is computed before."""
        common = {**kernel, **self._common, "budget_s": self._options.trial_budget_s}
        try:
            if kernel["workload"] not in self._prepared:
                request_first = {**common, "action": "prepare"}
                answer = self._worker.request(request_first, self._options.prepare_timeout_s)
                if answer["status"] != OK:
                    return answer
                self._prepared.add(kernel["workload"])
            began = time.monotonic()
            answer = self._worker.request({**common, **request}, timeout_s)
            return {**answer, "spent_s": time.monotonic() - began}
        except WorkerCrashed as error:
            return {"status": "crashed", "cause": str(error)}
        except WorkerExpired as error:
            return {"status": "timeout", "cause": str(error)}
