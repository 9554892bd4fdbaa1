"""What one kernel with given knobs takes on a board, by the model of its core."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tvm_flow.backends import Backend
from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.emulate import EmulationFailed, emulate
from tvm_flow.modelled.mca import Analyser
from tvm_flow.modelled.model import cost_of
from tvm_flow.modelled.tools import Tools, find_tools
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.errors import TuningError, UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.worker import kernel_build
from tvm_flow.tuning.worker.protocol import BuildRequest, KernelRequest
from tvm_flow.tuning.worker.trial_data import trial_data

_TIMEOUT_S = 60.0


class KernelModel:
    """Models kernels of one board on one thread, outside the tuner. It remembers what it has
    modelled. Raises :class:`UsageError` for a core or number of threads that is not modelled, and
    ``EnvironmentFault`` naming the Debian package that is missing."""

    def __init__(self, board: Board, backend: Backend) -> None:
        if board.threads != 1:
            raise UsageError(
                f"Kernels for {board.threads} threads are not modelled",
                why="the model is of one core",
                fix="--threads 1",
            )
        self.board, self.backend = board, backend
        self.device = backend.device(board, 1)
        self.model = CoreModel.of(board)
        self.tools: Tools = find_tools(board.arch)
        self._known: dict[tuple[str, tuple[tuple[str, int], ...]], float] = {}

    @cached_property
    def _analyser(self) -> Analyser:
        tools, core = self.tools, self.model.core
        return Analyser(tools.disassembler, tools.analyser, self.model.triple, core.mca)

    def seconds(self, workload: Workload, knobs: Mapping[str, int]) -> float:
        """Per call. Raises :class:`TuningError` where it cannot be built, emulated or modelled."""
        key = workload.key, tuple(sorted(knobs.items()))
        if key not in self._known:
            with tempfile.TemporaryDirectory(prefix="tvm-flow-model-") as folder:
                self._known[key] = self._modelled(workload, knobs, Path(folder))
        return self._known[key]

    def _modelled(self, workload: Workload, knobs: Mapping[str, int], folder: Path) -> float:
        algorithm = self.backend.algorithm(workload)
        request = KernelRequest.of(workload, algorithm, self.board, self.device)
        library = folder / "kernel.so"
        answer = kernel_build.build(BuildRequest(request, dict(knobs), library))
        if not answer.ok:
            raise TuningError(f"{workload.short_name} cannot be modelled", why=answer.cause)
        data = trial_data(
            workload.key, self.device, algorithm_module=request.algorithm_module, seed=0,
            cache=str(folder),
        )  # fmt: skip
        try:
            trace = emulate(
                str(library), data.buffers(), answer.shapes, model=self.model, tools=self.tools,
                folder=folder, timeout_s=_TIMEOUT_S,
            )  # fmt: skip
        except EmulationFailed as error:
            raise TuningError(
                f"{workload.short_name} cannot be modelled", why=str(error)
            ) from error
        return cost_of(trace, self.model, self._analyser).cycles / (1e6 * self.model.mhz)
