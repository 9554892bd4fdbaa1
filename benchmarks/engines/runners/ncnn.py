"""ncnn on the CPU, fp32 storage and arithmetic."""

from __future__ import annotations

from pathlib import Path

import ncnn  # type: ignore[import-not-found]
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class NcnnRun:
    """ncnn has no batch axis: it is taken off the input and put back on the output."""

    def __init__(self, path: Path, threads: int) -> None:
        ncnn.set_omp_num_threads(threads)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, f"use_{name}", False)
        files = path / "model.ncnn.param", path / "model.ncnn.bin"
        if self._net.load_param(str(files[0])) or self._net.load_model(str(files[1])):
            raise RuntimeError(f"ncnn cannot load {path}")
        self._source, self._sink = self._net.input_names()[0], self._net.output_names()[0]
        self._input = ncnn.Mat()

    def set_input(self, array: Array) -> None:
        if array.shape[0] != 1:
            raise RuntimeError("ncnn takes a batch of one")
        self._input = ncnn.Mat(np.ascontiguousarray(array[0])).clone()

    def run(self) -> ncnn.Mat:
        extractor = self._net.create_extractor()
        extractor.input(self._source, self._input)
        code, result = extractor.extract(self._sink)
        if code:
            raise RuntimeError(f"ncnn returned {code}")
        return result

    def output(self) -> Array:
        return np.array(self.run())[None]


def contestant(*, threads: int, path: str) -> NcnnRun:
    return NcnnRun(Path(path), threads)
