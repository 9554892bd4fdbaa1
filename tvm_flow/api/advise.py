"""``advise``: what to change in a network to make it faster on a target."""

from __future__ import annotations

from pathlib import Path

from tvm_flow.analysis.advice import AdviceReport as AdviceReport
from tvm_flow.analysis.advice import advice, timed_saving
from tvm_flow.analysis.finding import MEASURED, MODELLED, Finding
from tvm_flow.analysis.kernel_clock import KernelClock
from tvm_flow.analysis.work import work_of
from tvm_flow.api.analyze import analysis_board, analyze
from tvm_flow.api.boards import store_of
from tvm_flow.api.choose import RecordChooser
from tvm_flow.api.values import ModelLike, Target, TargetLike, target_value
from tvm_flow.backends import backend_of
from tvm_flow.modelled.kernel_seconds import KernelModel
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import EnvironmentFault, TuningError, UsageError
from tvm_flow.targets import Board


def advise(
    model: ModelLike,
    *,
    target: TargetLike = "native",
    threads: int | None = None,
    runs: int = 50,
    records: str | Path | None = None,
    compile_changes: bool = False,
) -> AdviceReport:
    """Audit a network by the four guidelines of ShuffleNet V2, its channels' alignment to the
    target's vectors, and what this project's kernels are good at.

    Parameters
    ----------
    model, target, threads, runs, records: as for :func:`tvm_flow.analyze`, which it begins with.
    compile_changes: compile each layer and what it would change to, and time both, instead of
        taking the saving from the target's peaks: measured here, modelled for a board.

    Raises :class:`UsageError`, and what analyzing raises.
    """
    board = analysis_board(target, threads)
    device = target_value(target).device
    report = analyze(
        model, target=Target(board, device), threads=board.threads, runs=runs, records=records
    )
    backend = backend_of(device)
    cpu = backend.device(board, board.threads)
    works = [work_of(Workload.parse(x.workload), cpu) for x in report.layers if x.workload]
    resident = sum(work.weights for work in works)
    clock = _Clock(board, device, records) if compile_changes else None
    made = advice(report, cpu, board.n_div, resident, clock)
    if clock is None or not clock.notes:
        return made
    return AdviceReport(**{**vars(made), "notes": (*made.notes, *dict.fromkeys(clock.notes))})


class _Clock:
    """Replaces modelled savings by timed ones; what cannot be timed stays as it is, with a note."""

    def __init__(self, board: Board, device: str, records: str | Path | None) -> None:
        backend = backend_of(device)
        self._choose = RecordChooser(store_of(board, records, device), board, backend)
        self._word = MEASURED if board.is_native else MODELLED
        self._kernels: KernelClock | KernelModel | None = None
        self.notes: list[str] = []
        try:
            kind = KernelClock if board.is_native else KernelModel
            self._kernels = kind(board, backend)
        except (EnvironmentFault, UsageError) as error:
            self.notes.append(f"savings are by the peaks alone: {error}")

    def __call__(self, one: Finding) -> Finding:
        if self._kernels is None:
            return one
        try:
            return timed_saving(one, self._seconds, self._word)
        except TuningError as error:
            self.notes.append(f"a saving is by the peaks alone: {error}")
            return one

    def _seconds(self, workload: Workload) -> float:
        assert self._kernels is not None
        return self._kernels.seconds(workload, self._choose(workload).knobs)
