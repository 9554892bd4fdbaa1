"""Where candidates are timed: what the tuner asks of a test bench, and the bench that is this
machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from tvm_flow.backends import CPU, Backend
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.builder import BuiltKernel
from tvm_flow.tuning.worker.cores import CorePlan, plan_cores
from tvm_flow.tuning.worker.protocol import KernelRequest, Outcome, WorkerRole
from tvm_flow.tuning.worker.runner import Runner


class TrialRunner(Protocol):
    """Checks and times candidates; ``slots`` of them at a time."""

    slots: int

    def submit(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Future[Outcome]:
        """Start one trial; ``best_s`` is the best time of its task so far (or infinity)."""

    def compare(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> Future[list[Outcome]]:
        """Start measuring several candidates side by side; all fail if one does."""

    def compare_s(self, trials_s: Sequence[float], calls_s: Sequence[float]) -> float:
        """Seconds that :meth:`compare` may be expected to take with candidates whose trials took
        ``trials_s`` and which take ``calls_s`` per call."""

    def notes(self) -> Sequence[str]:
        """Remarks for the user on how measuring goes, one line each."""

    def close(self) -> None:
        """End at once, also what is being measured."""


class Bench(Protocol):
    """A way to time kernels of a board. ``label`` (one of
    :data:`tvm_flow.tuning.records.record.LABELS`) says what its times are; records of other
    labels are neither used nor repeated."""

    label: str

    def plan(self, board: Board, threads: int) -> CorePlan:
        """Which of this machine's cores do what. Raises :class:`UsageError` where ``board``
        cannot be measured with this bench or with so many threads."""

    def runner(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> TrialRunner:
        """The runner of one tuner run; ``folder`` is for its temporary files."""


class LocalBench:
    """This machine's own cores."""

    label = "measured"

    def __init__(self, backend: Backend = CPU) -> None:
        self._backend = backend

    def plan(self, board: Board, threads: int) -> CorePlan:
        if board.arch != platform.machine():
            raise UsageError(
                f"Cannot measure kernels for {board.name} here",
                why=f"it is {board.arch}, this machine is {platform.machine()}",
                fix=f"name the tracker that a {board.name} is registered with (--tracker "
                "HOST:PORT), or rank by a model (--runner modelled)",
            )
        return plan_cores(board, threads)

    def runner(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> TrialRunner:
        role = WorkerRole("run", self._backend.runner)
        return Runner(plan, folder, options, seed, role=role)
