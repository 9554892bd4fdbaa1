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
from pathlib import Path

from tvm_flow.remote.seats import Closing, SeatFinder
from tvm_flow.schedules.contract.base import Workload
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.registry import lookup
from tvm_flow.support.channel import Message
from tvm_flow.support.errors import BoardError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.builder import Built
from tvm_flow.tuning.worker.process import (
    WorkerCrashed,
    WorkerExpired,
    WorkerProcess,
    WorkerStopped,
)
from tvm_flow.tuning.worker.runner import Outcome, compare_s

OPEN_S = 15.0  # to open a session with a board that the tracker says is free
_SLACK_S = 5.0  # the board ends what takes too long by itself; this is for its answer
_STRIKES = 2  # failures of a candidate in sessions of boards that are alive
_BOARD_FAILURES = 5  # in a row: sessions that do not open, or throttled measurements
_SLOWEST = 200.0  # times the theoretical time: what a poor candidate may take
_EMULATED = 50.0  # times as slow again
_UPLOAD_BYTES_PER_S = 1e6
_ENVIRONMENT = {"TVM_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

_Check = Callable[[Message], None]


class BoardRunner:
    """Trials on the boards of one key, ``slots`` at a time; a tuner's ``TrialRunner``.

    ``check(opened)`` raises :class:`BoardError` for a board that is not what was asked for.
    """

    def __init__(
        self,
        board: Board,
        seats: SeatFinder,
        folder: Path,
        options: TuneOptions,
        seed: int,
        *,
        slots: int,
        emulated: bool,
        check: _Check,
    ) -> None:
        self.slots = slots
        self._board, self._seats, self._options = board, seats, options
        self._emulated, self._check = emulated, check
        self._rounds = 3 if emulated else options.final_rounds
        self._common = {"seed": seed, "cache": str(folder), "tolerance": options.tolerance}
        self._workers = [
            WorkerProcess("board", (), _ENVIRONMENT, folder / f"board-{n}.log")
            for n in range(slots)
        ]
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="board")
        self._troubles: Counter[str] = Counter()
        self._stock = False

    def submit(self, kernel: Message, built: Built, best_s: float) -> Future[Outcome]:
        """Start one trial."""
        request = {"action": "measure", "libraries": [built.message], "best_s": min(best_s, 3e7)}
        return self._pool.submit(self._one, kernel, request, [built])

    def compare(self, kernel: Message, built: Sequence[Built]) -> Future[list[Outcome]]:
        """Start measuring several candidates in turns in one session; all fail if one does."""
        libraries = [candidate.message for candidate in built]
        request = {"action": "compare", "libraries": libraries, "rounds": self._rounds}
        return self._pool.submit(self._several, kernel, request, built)

    def compare_s(self, trials_s: Sequence[float], calls_s: Sequence[float]) -> float:
        """Seconds that :meth:`compare` may be expected to take, with as much waiting for boards as
        trials had."""
        return compare_s(trials_s, calls_s, self._options, self._rounds)

    def notes(self) -> Sequence[str]:
        """What is being waited for, and what went wrong with boards so far."""
        found = [self._seats.waiting] if self._seats.waiting else []
        found += [f"board {place} is set aside: {why}" for place, why in self._seats.aside.items()]
        troubles = Counter(dict(self._troubles))  # other threads go on counting
        found += [f"{count}x {trouble}" for trouble, count in troubles.most_common(3)]
        if self._stock:
            found.append("TVM's own RPC server runs on the board: warm weights, no health checks")
        return found

    def close(self) -> None:
        """End waits, and kill the workers, also busy ones."""
        self._seats.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._pool.shutdown(wait=True)

    def _one(self, kernel: Message, request: Message, built: Sequence[Built]) -> Outcome:
        return Outcome(**self._trial(kernel, request, built))

    def _several(self, kernel: Message, request: Message, built: Sequence[Built]) -> list[Outcome]:
        answer = self._trial(kernel, request, built)
        if answer["status"] != OK:
            return [Outcome(**answer)] * len(built)
        return [Outcome(OK, **result) for result in answer["results"]]

    def _trial(self, kernel: Message, request: Message, built: Sequence[Built]) -> Message:
        """Until the candidate is measured or blamed. Raises :class:`BoardError`."""
        worker = self._idle.get()
        common = {**kernel, **self._common, "budget_s": self._options.trial_budget_s}
        strikes = failures = 0
        try:
            prepared = self._prepare(worker, common)
            if prepared["status"] != OK:
                return prepared
            limit_s, began = self._limit_s(kernel, built), time.monotonic()
            while True:
                opened = self._open(worker, limit_s)
                answer = opened
                if opened["status"] == OK:
                    answer = self._ask(worker, {**common, **request}, limit_s + _SLACK_S)
                    if answer["status"] not in ("lost", "throttled"):
                        return {**answer, "spent_s": time.monotonic() - began}
                    strikes += answer["status"] == "lost"
                    if strikes >= _STRIKES:
                        cause = f"twice: {answer['cause']}"
                        return {"status": answer.get("as", "crashed"), "cause": cause}
                failures += answer["status"] == "throttled" or opened["status"] != OK
                self._troubles[answer["cause"]] += 1
                if failures >= _BOARD_FAILURES:
                    raise self._unfit(answer["cause"])
        finally:
            self._idle.put(worker)

    def _prepare(self, worker: WorkerProcess, common: Message) -> Message:
        """The reference, on this machine; later requests for the same workload recall it."""
        try:
            request = {**common, "action": "prepare"}
            return worker.request(request, self._options.prepare_timeout_s)
        except WorkerCrashed as error:
            return {"status": "run_error", "cause": f"reference: {error}"}
        except WorkerExpired as error:
            return {"status": "timeout", "cause": f"reference: {error}"}

    def _open(self, worker: WorkerProcess, limit_s: float) -> Message:
        """A session with a board that is what was asked for, or why there is none."""
        try:
            seat = self._seats.find()
        except Closing:
            raise WorkerStopped from None
        answer = self._ask(worker, seat.opening(limit_s), OPEN_S)
        if answer["status"] == OK:
            self._check(answer)
            self._stock = self._stock or not answer["ours"]
            return answer
        return {"status": "lost", "cause": f"{seat.place} gives no session: {answer['cause']}"}

    def _ask(self, worker: WorkerProcess, request: Message, timeout_s: float) -> Message:
        try:
            return worker.request(request, timeout_s)
        except WorkerCrashed as error:  # TVM's client may not survive a broken connection
            return {"status": "lost", "cause": f"the session broke ({error})"}
        except WorkerExpired as error:
            return {"status": "lost", "as": "timeout", "cause": str(error)}

    def _limit_s(self, kernel: Message, built: Sequence[Built]) -> float:
        """How long a trial may take on the board, from what its work takes at the board's peak."""
        workload = Workload.parse(kernel["workload"])
        family = lookup(workload.op, kernel["target"]["kind"])
        peak = max(self._board.peak_gflops(1), 1.0)
        call_s = 2e-9 * max(family.macs(workload), 100_000) / peak * _SLOWEST
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
            f"Board {self._seats.key!r} is not fit to measure on",
            why=f"{_BOARD_FAILURES} times: {cause}",
            fix=f"tvm-flow boards check {self._seats.key}; what was measured is kept",
        )
