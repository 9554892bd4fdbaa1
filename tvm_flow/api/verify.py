"""Check a fresh bundle as its user will: in a process of its own, without PyTorch.

A crash of generated code then becomes a sentence, and this process keeps its thread pool.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.api.check import CheckReport, check
from tvm_flow.api.values import BUNDLE, SINGLE_FILE, TVM
from tvm_flow.runtime.bundle import Bundle, load
from tvm_flow.support import errors, manifest
from tvm_flow.support.child import child_environment
from tvm_flow.support.errors import CompileError, NumericsError, TvmFlowError

TIMEOUT_S = 300
_RUN = "import sys; from tvm_flow.api.verify import answer; answer(*sys.argv[1:])"
Array = NDArray[Any]


def verify(
    made: Path, bundle: Path, format: str = BUNDLE, more: Sequence[Sequence[Array]] = ()
) -> tuple[CheckReport, list[list[Array]]]:
    """Run what was ``made`` in a ``format`` on the sample in ``bundle`` and compare with the
    reference's result. Also returns its outputs for that sample, and for each list of inputs in
    ``more``.

    Raises :class:`NumericsError` for wrong numbers, :class:`CompileError` where the process
    crashes or hangs, and what loading raises.
    """
    with tempfile.TemporaryDirectory(prefix="tvm-flow-verify-") as folder:
        for number, arrays in enumerate(more):
            np.savez(f"{folder}/{_INPUTS.format(number + 1)}", *arrays)
        reply = _ask(str(made), str(bundle), format, folder)
        outputs = [_read(f"{folder}/{_OUTPUTS.format(n)}") for n in range(len(more) + 1)]
    return CheckReport(**reply), outputs


#: Files of arrays: number 0 is the bundle's own sample.
_INPUTS, _OUTPUTS = "inputs_{}.npz", "outputs_{}.npz"


def _read(path: str) -> list[Array]:
    with np.load(path) as arrays:
        return [arrays[f"arr_{number}"] for number in range(len(arrays.files))]


def _ask(*arguments: str) -> dict[str, Any]:
    reply = json.loads(_in_another_process(*arguments))
    if "error" in reply:
        kind: type[TvmFlowError] = getattr(errors, reply["error"])
        raise kind(reply["what"], why=reply["why"], fix=reply["fix"])
    return dict(reply)


def _in_another_process(*arguments: str) -> str:
    """What :func:`answer` prints there."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
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
    return done.stdout.splitlines()[-1]


def answer(made: str, bundle: str, format: str, folder: str) -> None:
    """In the other process: print the report, or the error, as one line of JSON, and write the
    outputs into ``folder``."""
    reply: dict[str, Any]
    try:
        report, run = _CHECKS[format](made, bundle)
        names = manifest.read(bundle).data["sample"]["inputs"]
        given = [[np.load(Path(bundle) / name) for name in names]]
        given += [_read(f"{folder}/{_INPUTS.format(n)}") for n in range(1, _count(folder) + 1)]
        for number, arrays in enumerate(given):
            np.savez(f"{folder}/{_OUTPUTS.format(number)}", *run(*arrays))
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


def _count(folder: str) -> int:
    return len(list(Path(folder).glob(_INPUTS.format("*"))))


#: What a network computes for one array per input.
Run = Callable[..., list[Array]]


def _check_bundle(made: str, _bundle: str) -> tuple[CheckReport, Run]:
    loaded = load(made)
    return check(loaded), partial(_outputs, loaded)


def _check_single_file(made: str, bundle: str) -> tuple[CheckReport, Run]:
    loaded = load(made)
    report = CheckReport(loaded.check(bundle), loaded.tolerance, loaded.threads)
    return report, partial(_outputs, loaded)


def _outputs(loaded: Bundle, *arrays: Array) -> list[Array]:
    made = loaded(*arrays)
    return list(made) if isinstance(made, tuple) else [made]


def _check_tvm_library(made: str, bundle: str) -> tuple[CheckReport, Run]:
    """As a user of TVM runs it."""
    import tvm  # noqa: PLC0415
    from tvm import relax  # noqa: PLC0415

    from tvm_flow.measure.stats import worst_rel_error  # noqa: PLC0415

    info = manifest.read(bundle)
    sample = info.data["sample"]
    machine = relax.VirtualMachine(tvm.runtime.load_module(made), tvm.cpu())

    def run(*arrays: Array) -> list[Array]:
        results = machine["main"](*map(tvm.runtime.tensor, arrays))
        outputs = [results] if hasattr(results, "numpy") else list(results)
        return [output.numpy() for output in outputs]

    expected = [np.load(Path(bundle) / name) for name in sample["expected"]]
    error = worst_rel_error(
        run(*(np.load(Path(bundle) / name) for name in sample["inputs"])), expected
    )
    report = CheckReport(error, info.tolerance, 0)
    if not error <= info.tolerance:
        raise NumericsError("the library computes wrong values", why=str(report))
    return report, run


_CHECKS = {BUNDLE: _check_bundle, SINGLE_FILE: _check_single_file, TVM: _check_tvm_library}


def _unusable(why: str) -> CompileError:
    return CompileError(
        "the compiled network does not run",
        why=why,
        fix="compile it with other records (--records), and report it if that does not help",
    )
