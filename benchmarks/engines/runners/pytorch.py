"""PyTorch: eager in the variants of :mod:`tvm_flow.measure.eager`, and ``torch.compile``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tvm_flow.measure import eager

Array = NDArray[np.float32]
MODULE = "module.pt"


class CompiledRun:
    """Inductor with weights frozen into the graph, in channels_last."""

    def __init__(self, path: Path) -> None:
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            raise RuntimeError("torch.compile needs a C++ compiler: install g++ or set CXX")
        torch._inductor.config.freezing = True
        # In this process: a pool of compilers would not be stopped with it.
        torch._inductor.config.compile_threads = 1
        module = torch.load(path, weights_only=False).eval()
        self._module = torch.compile(module.to(memory_format=torch.channels_last))
        self._input = torch.empty(0)

    def set_input(self, array: Array) -> None:
        self._input = torch.from_numpy(array).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def run(self) -> torch.Tensor:
        result: torch.Tensor = self._module(self._input)
        return result

    def output(self) -> Array:
        return self.run().contiguous().numpy()


def contestant(*, threads: int, path: str, variant: str) -> CompiledRun | eager.EagerRun:
    """``variant``: one of ``eager.VARIANTS``, or ``compile``."""
    module = Path(path) / MODULE
    if variant != "compile":
        return eager.contestant(threads=threads, variant=variant, pickled=str(module))
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return CompiledRun(module)
