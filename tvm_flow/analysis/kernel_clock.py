"""Time of single kernels on this machine, outside of a network and of the tuner."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tvm_flow.backends import Backend
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import TuningError
from tvm_flow.targets import Board
from tvm_flow.tuning.worker import kernel_build, kernel_run
from tvm_flow.tuning.worker.protocol import (
    BuildRequest,
    Candidate,
    KernelRequest,
    MeasureRequest,
    TrialSettings,
)

_TOLERANCE = 1e-4
#: Of one round; its repeats are then shorter than a time slice, and some of them not interrupted.
_BUDGET_S = 0.02
_ROUNDS = 4


class KernelClock:
    """Builds, checks and times kernels as the tuner does, but in this process; it remembers them.
    Weights come from memory, as in a network."""

    def __init__(self, board: Board, backend: Backend) -> None:
        self.board, self.backend = board, backend
        self.device = backend.device(board, board.threads)
        self._known: dict[tuple[str, tuple[tuple[str, int], ...]], float] = {}

    def seconds(self, workload: Workload, knobs: Mapping[str, int]) -> float:
        """Per call, the 10th percentile of the repeats of the best round. Raises
        :class:`TuningError` where it cannot be built or computes wrong numbers."""
        key = workload.key, tuple(sorted(knobs.items()))
        if key not in self._known:
            with tempfile.TemporaryDirectory(prefix="tvm-flow-clock-") as folder:
                self._known[key] = self._timed(workload, knobs, Path(folder))
        return self._known[key]

    def _timed(self, workload: Workload, knobs: Mapping[str, int], folder: Path) -> float:
        algorithm = self.backend.algorithm(workload)
        kernel = KernelRequest.of(workload, algorithm, self.board, self.device)
        library = folder / "kernel.so"
        answer = kernel_build.build(BuildRequest(kernel, dict(knobs), library))
        if not answer.ok:
            raise TuningError(f"{workload.short_name} cannot be built", why=answer.cause)
        request = MeasureRequest(
            kernel, TrialSettings(0, folder, _TOLERANCE, _BUDGET_S),
            Candidate(library, answer.shapes), math.inf,
        )  # fmt: skip
        outcomes = [kernel_run.measure(request) for _ in range(_ROUNDS)]
        times = [outcome.p10_s for outcome in outcomes if outcome.p10_s is not None]
        if len(times) < _ROUNDS:
            cause = next(outcome.cause for outcome in outcomes if outcome.p10_s is None)
            raise TuningError(f"{workload.short_name} cannot be timed", why=cause)
        return min(times)
