"""Check a fresh bundle as its user will: in a process of its own, without PyTorch.

A crash of generated code then becomes a sentence, and this process keeps its thread pool.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tvm_flow.api.check import CheckReport, check
from tvm_flow.api.values import BUNDLE, SINGLE_FILE, TVM
from tvm_flow.runtime.bundle import load
from tvm_flow.support import errors, manifest
from tvm_flow.support.child import child_environment
from tvm_flow.support.errors import CompileError, NumericsError, TvmFlowError

TIMEOUT_S = 300
_RUN = "import sys; from tvm_flow.api.verify import answer; answer(*sys.argv[1:])"


def verify(made: Path, bundle: Path, format: str = BUNDLE) -> CheckReport:
    """Run what was ``made`` in a ``format`` on the sample in ``bundle`` and compare with the
    reference's result.

    Raises :class:`NumericsError` for wrong numbers, :class:`CompileError` where the process
    crashes or hangs, and what loading raises.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(made), str(bundle), format],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired:
        raise _unusable(f"no answer within {TIMEOUT_S} s") from None
    if done.returncode:
        if done.returncode < 0:
            raise _unusable(f"it crashes with {signal.Signals(-done.returncode).name}")
        raise _unusable((done.stderr.strip().splitlines() or ["unknown"])[-1])
    reply = json.loads(done.stdout.splitlines()[-1])
    if "error" in reply:
        kind: type[TvmFlowError] = getattr(errors, reply["error"])
        raise kind(reply["what"], why=reply["why"], fix=reply["fix"])
    return CheckReport(**reply)


def answer(made: str, bundle: str, format: str) -> None:
    """In the other process: print the report, or the error, as one line of JSON."""
    reply: dict[str, Any]
    try:
        report = _CHECKS[format](made, bundle)
        reply = {
            "max_rel_error": report.max_rel_error,
            "tolerance": report.tolerance,
            "threads": report.threads,
            "reference": report.reference,
        }
    except TvmFlowError as error:
        reply = {
            "error": type(error).__name__,
            "what": error.what,
            "why": error.why,
            "fix": error.fix,
        }
    print(json.dumps(reply))


def _check_single_file(made: str, bundle: str) -> CheckReport:
    loaded = load(made)
    return CheckReport(loaded.check(bundle), loaded.tolerance, loaded.threads)


def _check_tvm_library(made: str, bundle: str) -> CheckReport:
    """As a user of TVM runs it."""
    import numpy as np  # noqa: PLC0415
    import tvm  # noqa: PLC0415
    from tvm import relax  # noqa: PLC0415

    from tvm_flow.measure.stats import worst_rel_error  # noqa: PLC0415

    info = manifest.read(bundle)
    sample = info.data["sample"]
    machine = relax.VirtualMachine(tvm.runtime.load_module(made), tvm.cpu())
    given = [tvm.runtime.tensor(np.load(Path(bundle) / name)) for name in sample["inputs"]]
    results = machine["main"](*given)
    outputs = [results] if hasattr(results, "numpy") else list(results)
    expected = [np.load(Path(bundle) / name) for name in sample["expected"]]
    error = worst_rel_error([output.numpy() for output in outputs], expected)
    report = CheckReport(error, info.tolerance, 0)
    if not error <= info.tolerance:
        raise NumericsError("the library computes wrong values", why=str(report))
    return report


_CHECKS = {
    BUNDLE: lambda made, _bundle: check(made),
    SINGLE_FILE: _check_single_file,
    TVM: _check_tvm_library,
}


def _unusable(why: str) -> CompileError:
    return CompileError(
        "the compiled network does not run",
        why=why,
        fix="compile it with other records (--records), and report it if that does not help",
    )
