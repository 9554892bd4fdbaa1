"""ExecuTorch with everything its XNNPACK backend takes delegated to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib  # type: ignore[import-not-found]
from executorch.runtime import Runtime  # type: ignore[import-not-found]
from numpy.typing import NDArray

Array = NDArray[np.float32]


class ExecutorchRun:
    """The method ``forward`` of a program file."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(1)  # only carries tensors here
        portable_lib._unsafe_reset_threadpool(threads)  # the only API there is
        used = portable_lib._threadpool_get_thread_count()
        if used != threads:
            raise RuntimeError(f"ExecuTorch uses {used} threads instead of {threads}")
        self._method = Runtime.get().load_program(path).load_method("forward")
        self._inputs: list[torch.Tensor] = []

    def set_input(self, array: Array) -> None:
        self._inputs = [torch.from_numpy(array)]

    def run(self) -> torch.Tensor:
        result: torch.Tensor = self._method.execute(self._inputs)[0]
        return result

    def output(self) -> Array:
        return self.run().contiguous().numpy().copy()


def contestant(*, threads: int, path: str) -> ExecutorchRun:
    return ExecutorchRun(Path(path) / "model.pte", threads)
