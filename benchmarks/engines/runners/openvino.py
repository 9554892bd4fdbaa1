"""OpenVINO's CPU plugin, tuned for latency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino  # type: ignore[import-not-found]
from numpy.typing import NDArray

Array = NDArray[np.float32]


class OpenvinoRun:
    """One inference request with its input in place."""

    def __init__(self, path: Path, threads: int) -> None:
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # On CPUs with bf16 instructions the default is bf16.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        model = openvino.Core().compile_model(str(path), "CPU", options)
        used = int(model.get_property("INFERENCE_NUM_THREADS"))
        if used != threads:
            raise RuntimeError(f"OpenVINO uses {used} threads instead of {threads}")
        self._request = model.create_infer_request()

    def set_input(self, array: Array) -> None:
        self._request.set_input_tensor(openvino.Tensor(array))

    def run(self) -> None:
        self._request.infer()

    def output(self) -> Array:
        self.run()
        return np.array(self._request.get_output_tensor().data)


def contestant(*, threads: int, path: str) -> OpenvinoRun:
    return OpenvinoRun(Path(path) / "model.onnx", threads)
