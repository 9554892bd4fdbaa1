"""A tvm-flow bundle for this machine without any tuning records."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tvm_flow
from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    with tempfile.TemporaryDirectory(prefix="tvm-flow-no-records-") as nowhere:
        tvm_flow.compile(
            tvm_flow.Model(case.module(), input_shape=case.shape),
            output=folder,
            threads=threads,
            records=nowhere,
        )
