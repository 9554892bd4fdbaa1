"""``run``: one input through a bundle."""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.runtime.classes import top_k
from tvm_flow.runtime.timing import Timing
from tvm_flow.support import manifest
from tvm_flow.support.publish import write_file


@dataclass(frozen=True)
class RunReport:
    """``outputs``: all of the network's, with their ``names``, ``output`` the first; ``top``: the
    classes with the largest logits of its first row as (index, softmax probability, label);
    ``timing`` of further runs, if asked for."""

    model: str
    threads: int
    outputs: tuple[NDArray[Any], ...]
    names: tuple[str, ...]
    top: tuple[tuple[int, float, str], ...]
    timing: Timing | None

    @property
    def output(self) -> NDArray[Any]:
        return self.outputs[0]

    def save(self, path: Path) -> None:
        """Write the output to ``path``, which ends in .npy, and further ones beside it to
        ``_2.npy`` and so on. Raises :class:`CompileError` where that cannot be done; what was
        there then is as it was."""
        for number, output in enumerate(self.outputs, 1):
            place = path if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
            with io.BytesIO() as content:
                np.save(content, output)
                write_file(place, content.getvalue(), "--save")

    def to_json(self) -> dict[str, Any]:
        """All but the outputs' values. A probability is null where the network's are no numbers."""
        return {
            "model": self.model,
            "threads": self.threads,
            "output_shape": list(self.output.shape),
            "outputs": [
                {"name": name, "shape": list(output.shape), "dtype": str(output.dtype)}
                for name, output in zip(self.names, self.outputs, strict=True)
            ],
            "top": [
                {"index": i, "probability": p if isfinite(p) else None, "label": name}
                for i, p, name in self.top
            ],
            "timing": {**self.timing.to_json(), "runs": self.timing.runs} if self.timing else None,
        }


def run(
    bundle: Bundle | str | Path,
    *inputs: NDArray[Any] | str | Path | None,
    top: int = 5,
    runs: int = 0,
    threads: int | None = None,
) -> RunReport:
    """Run a bundle on one input, or on as many as the network has.

    Parameters
    ----------
    bundle: a directory that :func:`tvm_flow.compile` wrote, or what :func:`tvm_flow.load` returns.
    inputs: arrays (or what NumPy makes one of), pictures (resized, cropped and normalised as the
        bundle says), or ``.npy`` or ``.bin`` files; by default the bundle's own sample.
    top: number of classes to report.
    runs: time this many further runs; 0 times nothing.
    threads: worker threads, by default as compiled for; only for a directory.

    Raises :class:`BundleError`, and :class:`UsageError` for an input that does not fit.
    """
    if not isinstance(bundle, Bundle) and not Path(bundle).is_file():
        manifest.verify(bundle)
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle, threads=threads)
    loaded.set_inputs(*(value for value in inputs if value is not None))
    output = loaded.run()
    outputs = output if isinstance(output, tuple) else (output,)
    first = outputs[0]
    row = first.reshape(len(first), -1)[0] if first.ndim else first
    return RunReport(
        model=loaded.model,
        threads=loaded.threads,
        outputs=outputs,
        names=tuple(spec.name for spec in loaded.outputs),
        top=tuple(top_k(row, top, loaded.labels)),
        timing=loaded.time(runs) if runs else None,
    )
