"""ncnn by pnnx, from TorchScript, as ncnn's documentation recommends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pnnx  # type: ignore[import-not-found]
import torch

from benchmarks.networks import Case


def write(case: Case, folder: Path, threads: int) -> None:
    script = folder / "model.pt"
    with torch.no_grad():
        torch.jit.trace(case.module(), torch.from_numpy(case.input()), check_trace=False).save(
            str(script)
        )
    shape = ",".join(map(str, case.shape))
    program = Path(pnnx.__file__).with_name("pnnx")
    done = subprocess.run(
        [program, script.name, f"inputshape=[{shape}]f32", "fp16=0"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / "model.ncnn.bin").is_file():
        raise RuntimeError(f"pnnx: {done.stderr.strip().splitlines()[-1:]}")
    script.unlink()
