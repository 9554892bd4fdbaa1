"""The FMA peak of a core as one more competitor, so that it is measured in the same rounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_flow import targets
from tvm_flow.measure.roofline import PeakKernel

Array = NDArray[np.float32]
_REPEATS = 20  # about a millisecond, as long as a small network


class PeakRun:
    """Runs on one core whatever the threads; what it computes has nothing to do with the input."""

    def __init__(self) -> None:
        self._kernel = PeakKernel(targets.load("native"))

    def set_input(self, array: Array) -> None:
        pass

    def run(self) -> None:
        for _ in range(_REPEATS):
            self._kernel.run()

    def output(self) -> Array:
        """The number of FLOPs of one run."""
        return np.array([_REPEATS * self._kernel.flops], np.float32)


def contestant(*, threads: int) -> PeakRun:
    return PeakRun()
