"""The module itself, pickled: building it anew would take more memory than running it."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    torch.save(case.module(), folder / "module.pt")
