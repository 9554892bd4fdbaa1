"""What a bundle needs in memory: the plan made at compile time, and a process that runs it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_flow.runtime import Bundle
from tvm_flow.runtime.verify import LIBRARY
from tvm_flow.support.errors import MeasurementError

# The peak is read by the process itself: the one in its parent's rusage starts at the parent's
# size, because a child begins as a copy of its parent.
_REPORT = """
import pathlib, re, sys
sys.modules["torch"] = None  # bundles of earlier versions would import it
sys.path.insert(0, sys.argv[1])
import tvm_flow.runtime as runtime
if len(sys.argv) > 2:
    bundle = runtime.load(sys.argv[2], threads=int(sys.argv[3]))
    for _ in range(4):
        bundle.run()
else:
    from tvm_flow.runtime import library
    library.load_runtime()
print(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
"""


@dataclass(frozen=True)
class MemoryReport:
    """All in bytes.

    ``storages``: the buffers the planner shares between intermediate tensors, ``arena`` their sum,
    ``unshared`` what one buffer per tensor would take. ``weights``: the file beside the library.
    ``peak_rss``: of a fresh Python process that loads and runs the bundle; ``baseline_rss``: of
    one that only loads the interpreter, NumPy and TVM's runtime.
    """

    storages: tuple[int, ...]
    arena: int
    unshared: int
    weights: int
    inputs: int
    outputs: int
    library: int
    peak_rss: int
    baseline_rss: int


def memory_report(bundle: Bundle) -> MemoryReport:
    """The manifest's memory plan and the measured peaks. Raises :class:`MeasurementError`."""
    info, plan = bundle.manifest, bundle.manifest.data["memory"]
    inputs, outputs = (
        sum(int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in specs)
        for specs in (info.inputs, info.outputs)
    )
    directory = str(bundle.directory.absolute())
    return MemoryReport(
        storages=tuple(plan["storages"]),
        arena=sum(plan["storages"]),
        unshared=plan["unshared"],
        weights=plan["weights"],
        inputs=inputs,
        outputs=outputs,
        library=(bundle.directory / LIBRARY).stat().st_size,
        peak_rss=_peak(bundle.directory, directory, str(bundle.threads)),
        baseline_rss=_peak(bundle.directory),
    )


def _peak(bundle: Path, *arguments: str) -> int:
    """Peak resident bytes of a process that runs :data:`_REPORT` with the bundle's own runtime."""
    command = [sys.executable, "-c", _REPORT, str(bundle.absolute() / "python"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise MeasurementError(
            "cannot measure the memory of a process that runs the bundle",
            why=lines[-1] if lines else f"exit status {done.returncode}",
        )
    return int(done.stdout) * 1024
