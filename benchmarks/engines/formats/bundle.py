"""A tvm-flow bundle for this machine, with the tuning records there are."""

from __future__ import annotations

from pathlib import Path

import tvm_flow
from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    report = tvm_flow.compile(
        tvm_flow.Model(case.module(), input_shape=case.shape), output=folder, threads=threads
    )
    print(f"{report.tuned} of {report.kernels} kernels tuned")
