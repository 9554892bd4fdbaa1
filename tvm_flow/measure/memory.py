"""What a bundle needs in memory: the plan made at compile time, and a process that runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tvm_flow.runtime import Bundle
from tvm_flow.support import manifest
from tvm_flow.support.child import SAFE_PATH
from tvm_flow.support.errors import MeasurementError

# The peak is read by the process itself: the one in its parent's rusage starts at the parent's
# size, because a child begins as a copy of its parent.
_REPORT = """
import re, sys
sys.path.insert(0, sys.argv[1])
import tvm_flow
tvm_flow.runtime.arrays.numpy_wanted = False
if len(sys.argv) > 2:
    bundle = tvm_flow.load(sys.argv[2], threads=int(sys.argv[3]))
    for _ in range(4):
        bundle.run()
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1))
"""


@dataclass(frozen=True)
class MemoryReport:
    """All in bytes.

    ``arena``: the memory that intermediate tensors share, ``unshared`` what one buffer per tensor
    would take. ``weights``: the file beside the library.
    ``peak_rss``: of a fresh Python process that loads and runs the bundle; ``baseline_rss``: of
    one that only loads the interpreter and the bundle's Python package; both without NumPy.
    """

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
    directory = Path(bundle.directory)
    plan = manifest.read(directory).data["memory"]
    return MemoryReport(
        arena=plan["arena"],
        unshared=plan["unshared"],
        weights=plan["weights"],
        inputs=sum(spec.bytes for spec in bundle.inputs),
        outputs=sum(spec.bytes for spec in bundle.outputs),
        library=(directory / "model.so").stat().st_size,
        peak_rss=_peak(directory, str(directory), str(bundle.threads)),
        baseline_rss=_peak(directory),
    )


def _peak(bundle: Path, *arguments: str) -> int:
    """Peak resident bytes of a process that runs :data:`_REPORT` with the bundle's own runtime."""
    command = [sys.executable, "-c", _REPORT, str(bundle.absolute() / "python"), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **SAFE_PATH}
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise MeasurementError(
            "cannot measure the memory of a process that runs the bundle",
            why=lines[-1] if lines else f"exit status {done.returncode}",
        )
    return int(done.stdout) * 1024
