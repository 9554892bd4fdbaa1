"""MNN from ONNX by its own converter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.engines.formats import onnx
from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    onnx.write(case, folder, threads)
    source, result = folder / "model.onnx", folder / "model.mnn"
    command = [str(Path(sys.executable).with_name("mnnconvert")), "-f", "ONNX", "--bizCode", "none"]
    done = subprocess.run(
        [*command, "--modelFile", str(source), "--MNNModel", str(result)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not result.is_file():
        raise RuntimeError(f"mnnconvert: {(done.stdout + done.stderr).strip().splitlines()[-1:]}")
    source.unlink()
