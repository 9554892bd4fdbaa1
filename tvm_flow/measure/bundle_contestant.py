"""A bundle as a competitor in a timing (``tvm_flow.measure.timing``), alone in its process."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.bundle import Bundle, load

Array = NDArray[Any]


class BundleRun:
    """A ``Runnable`` of ``tvm_flow.measure``. Inputs and outputs are NCHW, as in eager."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._buffers = bundle.buffers

    def set_input(self, *arrays: Array) -> None:
        for array, spec, buffer in zip(arrays, self._bundle.inputs, self._buffers, strict=True):
            nhwc = spec.layout == "NHWC"
            np.copyto(buffer, array.transpose(0, 2, 3, 1) if nhwc else array)

    def run(self) -> object:
        return self._bundle.run()

    def output(self) -> Array | tuple[Array, ...]:
        results = self._bundle.run()
        if isinstance(results, tuple):
            pairs = zip(results, self._bundle.outputs, strict=True)
            return tuple(_nchw(result, spec.layout) for result, spec in pairs)
        return _nchw(results, self._bundle.outputs[0].layout)


def _nchw(result: Any, layout: str) -> Array:
    made: Array = result.transpose(0, 3, 1, 2) if layout == "NHWC" else result
    return np.asarray(made, order="C")


def contestant(*, threads: int, directory: str) -> BundleRun:
    """Load a bundle in this process, bound to its cores."""
    return BundleRun(load(directory, threads=threads, pin=True))
