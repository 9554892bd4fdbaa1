"""LiteRT's interpreter, which hands the network to XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]
from numpy.typing import NDArray

Array = NDArray[np.float32]


class LitertRun:
    """One interpreter with its input tensor filled."""

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._source = self._interpreter.get_input_details()[0]["index"]
        self._sink = self._interpreter.get_output_details()[0]["index"]

    def set_input(self, array: Array) -> None:
        self._interpreter.set_tensor(self._source, array)

    def run(self) -> None:
        self._interpreter.invoke()

    def output(self) -> Array:
        self.run()
        result: Array = self._interpreter.get_tensor(self._sink)
        return result


def contestant(*, threads: int, path: str) -> LitertRun:
    return LitertRun(Path(path) / "model.tflite", threads)
