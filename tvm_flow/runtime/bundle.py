"""A loaded bundle: call it with arrays, time it."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime import library, manifest, verify
from tvm_flow.runtime.manifest import Manifest, Place, TensorSpec
from tvm_flow.runtime.weights import read_weights
from tvm_flow.support.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tvm_flow.runtime.stats import Timing

Array = NDArray[Any]
LABELS = "labels.txt"


class Bundle:
    """A network ready to run; made by :func:`load`.

    Calling it checks its arguments, copies them into aligned buffers and runs. ``run`` skips the
    checks and the copy: fill :attr:`buffers` in place first (pre-processing can write there
    directly), then call it.
    """

    def __init__(
        self, directory: str, info: Manifest, program: library.Program, threads: int
    ) -> None:
        self._directory, self.manifest, self.threads = directory, info, threads
        self.program = program
        alignment = int(info.target["alignment"])
        self.buffers: list[Array] = [
            library.aligned_empty(spec.shape, spec.dtype, alignment) for spec in info.inputs
        ]
        for buffer in self.buffers:
            buffer.fill(0)
        self._main = program.main.bound(*self.buffers)

    @property
    def directory(self) -> Path:
        from pathlib import Path  # noqa: PLC0415  (with what it imports, 0.6 MiB)

        return Path(self._directory)

    def __call__(self, *arrays: Array) -> Any:
        """Run on one array per input, in the manifest's order.

        Returns the output, or a tuple where the network has several; an output is a new array
        each time. Raises :class:`UsageError` for a wrong number, shape or type, or NaN/infinity.
        """
        specs = self.manifest.inputs
        if len(arrays) != len(specs):
            raise UsageError(
                f"the network takes {len(specs)} input(s), {len(arrays)} given",
                fix=f"pass {', '.join(spec.name for spec in specs)}",
            )
        for spec, array, buffer in zip(specs, arrays, self.buffers, strict=True):
            _require(spec, array)
            np.copyto(buffer, array)
        return self.run()

    def run(self) -> Any:
        """Run on the present content of :attr:`buffers`; results as in calling the bundle."""
        return self._main()

    def time(self, runs: int = 50, *, warmup: int = 5) -> Timing:
        """Time ``runs`` single :meth:`run` calls on the buffers as they are."""
        from tvm_flow.runtime.stats import summarise  # noqa: PLC0415  (not needed to run)

        if runs < 1 or warmup < 0:
            raise UsageError(
                f"cannot time {runs} runs after {warmup} warm-up runs", fix="ask for 1 or more runs"
            )
        for _ in range(warmup):
            self.run()
        seconds = []
        for _ in range(runs):
            start = time.perf_counter()
            self.run()
            seconds.append(time.perf_counter() - start)
        return summarise(seconds)

    @property
    def labels(self) -> list[str] | None:
        """Class names, one per output, or ``None`` where the bundle carries none."""
        if LABELS not in self.manifest.files:
            return None
        return (self.directory / LABELS).read_text(encoding="utf-8").splitlines()


def _require(spec: TensorSpec, array: Array) -> None:
    if not isinstance(array, np.ndarray):
        kind = type(array).__name__
        raise UsageError(f"input {spec.name} is a {kind}", fix="pass a NumPy array")
    if array.shape != spec.shape or array.dtype != spec.dtype:
        raise UsageError(
            f"input {spec.name} has shape {array.shape} and type {array.dtype}",
            why=f"the bundle was compiled for {spec.shape} and {spec.dtype}",
            fix="convert the array, or compile for its shape with --input",
        )
    # NaN is both the least and the largest; a mask of the whole input would take memory
    if not (math.isfinite(array.min()) and math.isfinite(array.max())):
        raise UsageError(
            f"input {spec.name} contains NaN or infinity", fix="look at the pre-processing"
        )


def load(directory: Place, *, threads: int | None = None, pin: bool = False) -> Bundle:
    """Verify a bundle and load it.

    Parameters
    ----------
    directory: what ``write_bundle`` wrote.
    threads: worker threads; by default as many as it was compiled for, at most one per core this
        process may use.
    pin: bind the calling thread, which computes too, to the first of the cores. For programs
        that do nothing else, and where cores differ (big.LITTLE).

    Use the result from one thread at a time.
    Hashes, schema, architecture, CPU features and runtime version are checked before any code of
    the bundle is loaded. Raises :class:`BundleError`, or :class:`UsageError` for ``threads``.
    """
    path = os.fspath(directory)
    info = manifest.read(path)
    verify.verify(path, info)
    cores = library.default_cores(info.target)
    count = min(int(info.target["threads"]), len(cores)) if threads is None else threads
    program = library.open_program(os.path.join(path, verify.LIBRARY), read_weights(path, info))
    library.use_threads(program.library, count, cores, pin=pin)
    return Bundle(path, info, program, count)
