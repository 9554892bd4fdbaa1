"""What is done with a loaded bundle besides running it: check its sample, classify a picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.runtime.inputs import load_input, top_k
from tvm_flow.runtime.stats import worst_rel_error
from tvm_flow.support.errors import NumericsError


@dataclass(frozen=True)
class CheckReport:
    """Result of re-running the sample a bundle carries."""

    max_rel_error: float
    tolerance: float
    threads: int

    def __str__(self) -> str:
        return f"max relative error {self.max_rel_error:.2e} (tolerance {self.tolerance:.0e})"


def check(bundle: Bundle | Path | str, *, threads: int | None = None) -> CheckReport:
    """Run the stored sample and compare with PyTorch's stored result.

    Raises :class:`NumericsError` where the difference exceeds the stored tolerance, and whatever
    :func:`load` raises.
    """
    if not isinstance(bundle, Bundle):
        bundle = load(bundle, threads=threads)
    sample = bundle.manifest.data["sample"]
    results = bundle(np.load(bundle.directory / sample["input"]))
    actual = results if isinstance(results, tuple) else (results,)
    wanted = (np.load(bundle.directory / name) for name in sample["expected"])
    error = worst_rel_error(actual, wanted)
    report = CheckReport(error, bundle.manifest.tolerance, bundle.threads)
    if not error <= report.tolerance:
        raise NumericsError(
            f"{bundle.directory} computes wrong values on this machine",
            why=f"{report} on its own sample",
            fix="compile it again for this machine, and report it if that does not help",
        )
    return report


def run_image(bundle: Bundle, path: Path | str, top: int = 5) -> list[tuple[int, float, str]]:
    """Classify one picture or tensor file: the ``top`` classes as (index, probability, label)."""
    spec = bundle.manifest.inputs[0]
    logits = bundle(load_input(Path(path), spec, bundle.manifest.layout))
    return top_k(logits, top, bundle.labels)
