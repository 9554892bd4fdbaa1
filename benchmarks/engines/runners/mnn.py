"""MNN's CPU backend through its Module API, ``precision: high`` (fp32)."""

from __future__ import annotations

from pathlib import Path

import MNN  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class MnnRun:
    """Reading the output is part of a run: MNN computes when its value is asked for."""

    def __init__(self, path: Path, threads: int) -> None:
        config = {"backend": "CPU", "precision": "high", "numThread": threads}
        self._runtime = MNN.nn.create_runtime_manager((config,))
        self._net = MNN.nn.load_module_from_file(str(path), [], [], runtime_manager=self._runtime)
        self._input: MNN.expr.Var | None = None

    def set_input(self, array: Array) -> None:
        source = MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW)
        source.write(np.ascontiguousarray(array))
        self._input = source

    def run(self) -> Array:
        (result,) = self._net.forward([self._input])
        value: Array = result.read()
        return value

    def output(self) -> Array:
        return np.array(self.run())


def contestant(*, threads: int, path: str) -> MnnRun:
    return MnnRun(Path(path) / "model.mnn", threads)
