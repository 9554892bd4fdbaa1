"""The tuner's test bench where there is no board: a model of the board's core."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.protocol import ModelSetup
from tvm_flow.modelled.tools import find_tools
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.builder import BuiltKernel
from tvm_flow.tuning.worker.cores import CorePlan
from tvm_flow.tuning.worker.protocol import KernelRequest, Outcome
from tvm_flow.tuning.worker.runner import Runner

#: An emulated kernel runs about a hundred times slower than on a core.
EMULATION_TIMEOUT_S = 60.0
#: For what comes after the emulation of a candidate.
_ANALYSIS_S = 60.0


class ModelledBench:
    """Candidates are emulated, checked, and ranked by a model: no time here is measured."""

    label = "modelled"

    def plan(self, board: Board, threads: int) -> CorePlan:
        """Half of the cores this process may use build, the others model.

        Raises :class:`UsageError` for a board or number of threads that is not modelled, and
        ``EnvironmentFault`` naming the Debian package that is missing.
        """
        if threads != 1:
            raise UsageError(
                f"Kernels for {threads} threads are not modelled",
                why="the model is of one core",
                fix="--threads 1; other thread counts use these records too",
            )
        if board.arch != "aarch64":
            raise UsageError(
                f"Kernels for {board.name} are not modelled",
                why=f"the model is for AArch64 boards, this is {board.arch}",
                fix="leave --runner modelled out: measure here",
            )
        CoreModel.of(board)
        find_tools(board.arch)
        allowed = sorted(os.sched_getaffinity(0))
        half = (len(allowed) + 1) // 2
        return CorePlan(tuple(allowed[:half]), tuple(allowed[half:] or allowed))

    def runner(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> ModelRunner:
        return ModelRunner(board, plan, folder, options, seed)


class ModelRunner:
    """One model worker per core of ``plan.measure``."""

    def __init__(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> None:
        model = CoreModel.of(board)
        setup = ModelSetup(model, find_tools(board.arch), EMULATION_TIMEOUT_S)
        options = replace(options, trial_timeout_s=EMULATION_TIMEOUT_S + _ANALYSIS_S)
        self.slots = len(plan.measure)
        self._remark = model.core.remark
        self._workers = []
        for core in plan.measure:
            own = folder / f"model-{core}"
            own.mkdir()
            alone = replace(plan, measure=(core,))
            self._workers.append(Runner(alone, own, options, seed, role=setup.role))
        self._idle: SimpleQueue[Runner] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._executor = ThreadPoolExecutor(self.slots, thread_name_prefix="model")

    def submit(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Future[Outcome]:
        """Start one trial."""
        return self._executor.submit(self._measure, kernel, built, best_s)

    def compare(self, kernel: KernelRequest, built: Sequence[BuiltKernel]) -> Future[list[Outcome]]:
        """Start modelling several candidates."""
        return self._workers[0].compare(kernel, built)

    def compare_s(self, trials_s: Sequence[float], calls_s: Sequence[float]) -> float:
        """Seconds that :meth:`compare` may be expected to take: what the worker that compares has
        modelled before costs nothing."""
        return sum(trials_s) * (1 - 1 / self.slots)

    def notes(self) -> Sequence[str]:
        """That times are modelled, and what stands in for the core."""
        said = ["times are modelled, not measured: they rank kernels, no board has confirmed them"]
        return said + ([self._remark] if self._remark else [])

    def close(self) -> None:
        """Kill the workers, also busy ones."""
        for worker in self._workers:
            worker.close()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _measure(self, kernel: KernelRequest, built: BuiltKernel, best_s: float) -> Outcome:
        worker = self._idle.get()
        try:
            return worker.submit(kernel, built, best_s).result()
        finally:
            self._idle.put(worker)
