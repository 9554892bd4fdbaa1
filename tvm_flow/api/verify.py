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
from tvm_flow.support import errors
from tvm_flow.support.child import child_environment
from tvm_flow.support.errors import CompileError, TvmFlowError

TIMEOUT_S = 300
_RUN = "import sys; from tvm_flow.api.verify import answer; answer(sys.argv[1])"


def verify(directory: Path) -> CheckReport:
    """Run the bundle's sample and compare with PyTorch's result.

    Raises :class:`NumericsError` for wrong numbers, :class:`CompileError` where the process
    crashes or hangs, and what loading raises.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(directory)],
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


def answer(directory: str) -> None:
    """In the other process: print the report, or the error, as one line of JSON."""
    reply: dict[str, Any]
    try:
        report = check(directory)
        reply = {
            "max_rel_error": report.max_rel_error,
            "tolerance": report.tolerance,
            "threads": report.threads,
        }
    except TvmFlowError as error:
        reply = {
            "error": type(error).__name__,
            "what": error.what,
            "why": error.why,
            "fix": error.fix,
        }
    print(json.dumps(reply))


def _unusable(why: str) -> CompileError:
    return CompileError(
        "the compiled network does not run",
        why=why,
        fix="compile it with other records (--records), and report it if that does not help",
    )
