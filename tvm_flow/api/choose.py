"""From tuning records to the knobs a network is compiled with."""

from __future__ import annotations

from collections.abc import Iterable

from tvm_flow.backends import Backend
from tvm_flow.ir.choice import Choice
from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.devices import AnyDevice
from tvm_flow.targets import Board
from tvm_flow.tuning.records.record import TRUSTED, Record
from tvm_flow.tuning.records.store import RecordStore


class RecordChooser:
    """The best record of each workload where there is one that still builds, else the default.

    ``notes`` tells, one line each, which records were passed over and why; :meth:`remarks` what
    is to be said of the kernels that came to be used.
    """

    def __init__(self, store: RecordStore, board: Board, backend: Backend) -> None:
        self.store, self.board, self.backend = store, board, backend
        self.device = backend.device(board, board.threads)
        self.notes: list[str] = list(store.notes)
        self._chosen: dict[Workload, Choice] = {}

    def __call__(self, workload: Workload) -> Choice:
        if workload not in self._chosen:
            self._chosen[workload] = self._choose(workload)
        return self._chosen[workload]

    def _choose(self, workload: Workload) -> Choice:
        algorithm, problem = self.backend.algorithm(workload), workload.problem
        space = algorithm.space(problem, self.device)
        threads = self.board.threads
        stale = [r for r in self.store.stale(workload, space) if r.threads == threads]
        if stale:
            self.notes.append(
                f"{len(stale)} record(s) of {workload.key} have knobs it no longer has: not used"
            )
        for label in TRUSTED:
            record = self.store.best(workload, threads, space=space, labels=[label])
            if record is not None and self._builds(algorithm, workload, record):
                # what it takes on more threads says nothing of other ways on as many as here
                seconds = record.seconds if record.threads == threads else None
                return Choice(record.knobs, "tuned", record.sha, record.label, seconds)
        return Choice(algorithm.default(problem, self.device), "default")

    def remarks(self, used: Iterable[Workload]) -> list[str]:
        """The notes, and whether records for fewer threads were left alone, of kernels that are
        used as they are by default."""
        threads = self.board.threads
        fewer = any(
            record.ok and record.threads < threads and record.label in TRUSTED
            for workload in used
            if self(workload).source == "default"
            for record in self.store.of(workload)
        )
        remark = (
            f"there are records for fewer than {threads} threads: not used, tune with "
            f"--threads {threads} or compile for fewer"
        )
        return [*self.notes, *([remark] if fewer else [])]

    def _builds(self, algorithm: Algorithm[AnyDevice], workload: Workload, record: Record) -> bool:
        try:
            algorithm.build(workload.problem, self.device, record.knobs, "candidate")
        except (ValueError, KeyError) as error:
            self.notes.append(
                f"record {record.sha} of {workload.key} no longer builds ({error}): default used"
            )
            return False
        return True
