"""ONNX by PyTorch's own exporter, which folds batch norm and keeps GELU one operator."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    sample = torch.from_numpy(case.input())
    with torch.no_grad():
        torch.onnx.export(
            case.module(), (sample,), str(folder / "model.onnx"), dynamo=True, external_data=False
        )
