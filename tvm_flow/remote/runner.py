"""The tuner's runner for boards: one trial, one session, and a verdict on whose fault it was.

A session that breaks may be the candidate's fault or the board's (power, network). The next session
tells: a board that gives one is alive. So a candidate is blamed for what happens to it twice, and a
board for what happens before a candidate runs, or when no session can be had any more.
"""

from __future__ import annotations

import math
import queue
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tvm_flow.remote.board_pool import BoardPool, Closing
from tvm_flow.remote.protocol import BOARD, LOST, THROTTLED, OpenAnswer
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import BoardError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.builder import BuiltKernel
from tvm_flow.tuning.worker.process import (
    WorkerCrashed,
    WorkerExpired,
    WorkerProcess,
    WorkerStopped,
)
from tvm_flow.tuning.worker.protocol import (
    Answer,
    CompareRequest,
    Comparison,
    KernelRequest,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    TrialRequest,
    TrialSettings,
)
from tvm_flow.tuning.worker.runner import compare_s

OPEN_S = 15.0  # to open a session with a board that the tracker says is free
_SLACK_S = 5.0  # the board ends what takes too long by itself; this is for its answer
_STRIKES = 2  # failures of a candidate in sessions of boards that are alive
_BOARD_FAILURES = 5  # in a row: sessions that do not open, or throttled measurements
_SLOWEST = 200.0  # times the theoretical time: what a poor candidate may take
_EMULATED = 50.0  # times as slow again
_UPLOAD_BYTES_PER_S = 1e6
_ENVIRONMENT = {"TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

A = TypeVar("A", bound=Answer)
_Check = Callable[[OpenAnswer], None]


@dataclass(frozen=True)
class _Reply(Generic[A]):
    """A worker's answer. ``blame``: the status of a candidate to which this happens again."""

    answer: A
    blame: str = "crashed"


class BoardRunner:
    """Trials on the boards of one key, ``slots`` at a time; a tuner's ``TrialRunner``.

    ``check(opened)`` raises :class:`BoardError` for a board that is not what was asked for.
    """

    def __init__(
        self,
        board: Board,
        pool: BoardPool,
        folder: Path,
        options: TuneOptions,
        seed: int,
        *,
        slots: int,
        emulated: bool,
        check: _Check,
    ) -> None:
        self.slots = slots
        self._board, self._pool, self._options = board, pool, options
        self._emulated, self._check = emulated, check
        self._rounds = 3 if emulated else options.final_rounds
        self._settings = TrialSettings.of(options, folder, seed)
        self._workers = [
            WorkerProcess(BOARD, (), _ENVIRONMENT, folder / f"board-{n}.log") for n in range(slots)
        ]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix="board")
        self._troubles: Counter[str] = Counter()
        self._stock = False

    def submit(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Future[Outcome]:
        """Start one trial."""
        request = MeasureRequest(kernel, self._settings, built.candidate, best_s)
        return self._executor.submit(self._measure, request, built)

    def compare(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> Future[list[Outcome]]:
        """Start measuring several candidates in turns in one session; all fail if one does."""
        candidates = tuple(one.candidate for one in built)
        request = CompareRequest(kernel, self._settings, candidates, self._rounds)
        return self._executor.submit(self._compare, request, built)

    def compare_s(self, trials_s: Sequence[float], calls_s: Sequence[float]) -> float:
        """Seconds that :meth:`compare` may be expected to take, with as much waiting for boards as
        trials had."""
        return compare_s(trials_s, calls_s, self._options, self._rounds)

    def notes(self) -> Sequence[str]:
        """What is being waited for, and what went wrong with boards so far."""
        found = [self._pool.waiting] if self._pool.waiting else []
        found += [f"board {place} is set aside: {why}" for place, why in self._pool.aside.items()]
        troubles = Counter(dict(self._troubles))  # other threads go on counting
        found += [f"{count}x {trouble}" for trouble, count in troubles.most_common(3)]
        if self._stock:
            found.append("TVM's own RPC server runs on the board: warm weights, no health checks")
        return found

    def close(self) -> None:
        """End waits, and kill the workers, also busy ones."""
        self._pool.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._executor.shutdown(wait=True)

    def _measure(self, request: MeasureRequest, built: BuiltKernel) -> Outcome:
        outcome, spent_s = self._trial(request, Outcome, [built])
        return replace(outcome, spent_s=spent_s)

    def _compare(self, request: CompareRequest, built: Sequence[BuiltKernel]) -> list[Outcome]:
        comparison, _ = self._trial(request, Comparison, built)
        return comparison.of_each(len(built))

    def _trial(
        self, request: TrialRequest, answer: type[A], built: Sequence[BuiltKernel]
    ) -> tuple[A, float]:
        """Until the candidate is measured or blamed, and how long that took, the reference left
        out. Raises :class:`BoardError`."""
        worker = self._idle.get()
        try:
            prepared = self._prepare(worker, request)
            if not prepared.ok:
                return answer(prepared.status, prepared.cause), 0.0
            began = time.monotonic()
            return self._in_sessions(worker, request, answer, built), time.monotonic() - began
        finally:
            self._idle.put(worker)

    def _in_sessions(
        self,
        worker: WorkerProcess,
        request: TrialRequest,
        answer: type[A],
        built: Sequence[BuiltKernel],
    ) -> A:
        """One session after the other until it is known whose fault a failure is."""
        limit_s = self._limit_s(request.kernel, built)
        strikes = failures = 0
        while True:
            opened = self._open(worker, limit_s)
            cause = opened.cause
            if opened.ok:
                reply = self._ask(worker, request, answer, limit_s + _SLACK_S)
                cause = reply.answer.cause
                if reply.answer.status not in (LOST, THROTTLED):
                    return reply.answer
                strikes += reply.answer.status == LOST
                if strikes >= _STRIKES:
                    return answer(reply.blame, f"twice: {cause}")
            failures += not opened.ok or reply.answer.status == THROTTLED
            self._troubles[cause] += 1
            if failures >= _BOARD_FAILURES:
                raise self._unfit(cause)

    def _prepare(self, worker: WorkerProcess, request: TrialRequest) -> Answer:
        """The reference, on this machine; later requests for the same workload recall it."""
        first = PrepareRequest(request.kernel, request.settings)
        try:
            return worker.request(first, Answer, self._options.prepare_timeout_s)
        except WorkerCrashed as error:
            return Answer("run_error", f"reference: {error}")
        except WorkerExpired as error:
            return Answer("timeout", f"reference: {error}")

    def _open(self, worker: WorkerProcess, limit_s: float) -> OpenAnswer:
        """A session with a board that is what was asked for, or why there is none."""
        try:
            granted = self._pool.find()
        except Closing:
            raise WorkerStopped from None
        opened = self._ask(worker, granted.opening(limit_s), OpenAnswer, OPEN_S).answer
        if opened.ok:
            self._check(opened)
            self._stock = self._stock or not opened.ours
            return opened
        return OpenAnswer(LOST, f"{granted.place} gives no session: {opened.cause}")

    def _ask(
        self, worker: WorkerProcess, request: Any, answer: type[A], timeout_s: float
    ) -> _Reply[A]:
        try:
            return _Reply(worker.request(request, answer, timeout_s))
        except WorkerCrashed as error:  # TVM's client may not survive a broken connection
            return _Reply(answer(LOST, f"the session broke ({error})"))
        except WorkerExpired as error:
            return _Reply(answer(LOST, str(error)), blame="timeout")

    def _limit_s(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> float:
        """How long a trial may take on the board, from what its work takes at the board's peak."""
        problem = Workload.parse(kernel.workload).problem
        macs = max(registry.operator(problem.op).macs(problem), 100_000)
        peak = max(self._board.peak_gflops(1), 1.0)
        call_s = 2e-9 * macs / peak * _SLOWEST
        if self._emulated:
            call_s *= _EMULATED
        size = sum(item.library.stat().st_size for item in built if item.library is not None)
        elements = sum(math.prod(shape) for item in built for shape in item.shapes)
        size += FLOAT32.bytes * elements  # no kernel's are larger
        upload_s = 2 * size / _UPLOAD_BYTES_PER_S  # outputs come back
        runs_s = len(built) * (4 * call_s + 8 * self._options.trial_budget_s)
        return self._options.trial_timeout_s + upload_s + runs_s

    def _unfit(self, cause: str) -> BoardError:
        return BoardError(
            f"Board {self._pool.key!r} is not fit to measure on",
            why=f"{_BOARD_FAILURES} times: {cause}",
            fix=f"tvm-flow boards check {self._pool.key}; what was measured is kept",
        )
