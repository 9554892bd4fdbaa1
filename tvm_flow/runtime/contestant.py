"""A bundle as a competitor in a timing (``tvm_flow.measure.timing``), alone in its process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.bundle import Bundle, load

Array = NDArray[np.float32]


class BundleRun:
    """A ``Runnable`` of ``tvm_flow.measure``. Inputs and outputs are NCHW, as in eager."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def set_input(self, array: Array) -> None:
        if self._bundle.manifest.layout == "NHWC" and array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        np.copyto(self._bundle.buffers[0], array)

    def run(self) -> object:
        return self._bundle.run()

    def output(self) -> Array | tuple[Array, ...]:
        results = self._bundle.run()
        if isinstance(results, tuple):
            return tuple(self._nchw(result) for result in results)
        return self._nchw(results)

    def _nchw(self, result: Array) -> Array:
        if self._bundle.manifest.layout == "NHWC" and result.ndim == 4:
            return np.ascontiguousarray(result.transpose(0, 3, 1, 2))
        return result


def contestant(*, threads: int, directory: str) -> BundleRun:
    """Load a bundle in this process, bound to its cores."""
    return BundleRun(load(directory, threads=threads, pin=True))
