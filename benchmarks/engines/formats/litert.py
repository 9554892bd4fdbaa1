"""LiteRT (formerly TensorFlow Lite) by litert-torch."""

from __future__ import annotations

from pathlib import Path

import litert_torch  # type: ignore[import-not-found]
import torch

from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    converted = litert_torch.convert(case.module(), (torch.from_numpy(case.input()),))
    converted.export(str(folder / "model.tflite"))
