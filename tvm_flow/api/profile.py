"""``profile``: where the time of a compiled network goes, kernel by kernel."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tvm_flow.api.values import ModelLike, TargetLike, model_value
from tvm_flow.measure.memory import MemoryReport as MemoryReport
from tvm_flow.report.chrome_trace import chrome_trace
from tvm_flow.report.profile import ProfileReport as ProfileReport
from tvm_flow.report.profile import profile as profile_bundle
from tvm_flow.report.profile_versus import KernelPair as KernelPair
from tvm_flow.report.profile_versus import ProfileComparison as ProfileComparison
from tvm_flow.report.profile_versus import compare_profiles
from tvm_flow.support import manifest
from tvm_flow.support.errors import UsageError
from tvm_flow.support.publish import write_file


def write_trace(report: ProfileReport, path: str | Path) -> None:
    """Write a profile as a trace for chrome://tracing or ui.perfetto.dev: a slice per kernel, and
    the PyTorch modules they belong to. Raises :class:`CompileError` where it cannot be written."""
    write_file(Path(path), chrome_trace(report), "--trace")


def profile_versus(
    model: ModelLike | Path,
    versus: ModelLike | Path,
    *,
    target: TargetLike = "native",
    threads: int | None = None,
    runs: int = 50,
    records: str | Path | None = None,
) -> ProfileComparison:
    """Profile two bundles, or models compiled for the purpose, and set their kernels side by side:
    those that compute the same PyTorch modules. Each is profiled twice, in turns, and the quieter
    of its profiles counts. Arguments and errors are those of :func:`profile`."""
    options: dict[str, Any] = {
        "target": target, "threads": threads, "runs": runs, "records": records,
    }  # fmt: skip
    with ExitStack() as stack:
        bundles = [_bundle_of(stack, one, **options) for one in (model, versus)]
        found = [[profile_bundle(one, threads=threads, runs=runs) for one in bundles]
                 for _ in range(2)]  # fmt: skip
    first, second = (min(both, key=lambda r: r.kernels_us) for both in zip(*found, strict=True))
    return compare_profiles(first, second)


def profile(
    model: ModelLike | Path,
    *,
    target: TargetLike = "native",
    threads: int | None = None,
    runs: int = 50,
    memory: bool = False,
    records: str | Path | None = None,
) -> ProfileReport:
    """Time every kernel of a bundle, or of a model compiled for the purpose.

    Parameters
    ----------
    model: a directory that :func:`tvm_flow.compile` wrote, or a model as for
        :func:`tvm_flow.trace`; ``target`` and ``records`` are for the latter.
    threads: worker threads, by default as compiled for.
    runs: runs every time is the median of.
    memory: also report the memory plan and the peak memory of a fresh process.

    Raises :class:`UsageError`, :class:`MeasurementError`, and what compiling and loading raise.
    """
    with ExitStack() as stack:
        bundle = _bundle_of(
            stack, model, target=target, threads=threads, runs=runs, records=records
        )
        return profile_bundle(bundle, threads=threads, runs=runs, memory=memory)


def _bundle_of(
    stack: ExitStack, model: ModelLike | Path, *, target: TargetLike, threads: int | None,
    runs: int, records: str | Path | None,
) -> Path | str:  # fmt: skip
    """The bundle itself, or one that is compiled into a folder that lives as long as ``stack``."""
    if runs < 1:
        raise UsageError(f"cannot profile {runs} runs", fix="ask for 1 or more")
    given = model_value(str(model) if isinstance(model, Path) else model)
    if isinstance(given.source, str) and given.source.endswith(".so"):
        manifest.read(given.source)  # tells that a bundle is wanted
    if isinstance(given.source, str) and manifest.is_bundle(Path(given.source)):
        return given.source
    from tvm_flow.api.compile import compile  # noqa: PLC0415 - a bundle needs no compiler

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tvm-flow-profile-"))
    made = compile(
        given, output=Path(folder) / "bundle", target=target, threads=threads, records=records
    )
    return made.path
