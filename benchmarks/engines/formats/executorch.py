"""An ExecuTorch program with all that XNNPACK supports delegated to it."""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # type: ignore[import-not-found]
    XnnpackPartitioner,
)
from executorch.exir import to_edge_transform_and_lower  # type: ignore[import-not-found]

from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    with torch.no_grad():
        program = torch.export.export(case.module(), (torch.from_numpy(case.input()),))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "model.pte").write_bytes(lowered.to_executorch().buffer)
