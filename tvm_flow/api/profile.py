"""``profile``: where the time of a compiled network goes, kernel by kernel."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tvm_flow.api.values import ModelLike, TargetLike, model_value
from tvm_flow.measure.memory import MemoryReport as MemoryReport
from tvm_flow.report.profile import ProfileReport as ProfileReport
from tvm_flow.report.profile import profile as profile_bundle
from tvm_flow.support import manifest


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
    given = model_value(str(model) if isinstance(model, Path) else model)
    if isinstance(given.source, str) and given.source.endswith(".so"):
        manifest.read(given.source)  # tells that a bundle is wanted
    if isinstance(given.source, str) and manifest.is_bundle(Path(given.source)):
        return profile_bundle(given.source, threads=threads, runs=runs, memory=memory)
    from tvm_flow.api.compile import compile  # noqa: PLC0415 - a bundle needs no compiler

    with tempfile.TemporaryDirectory(prefix="tvm-flow-profile-") as folder:
        made = compile(
            given,
            output=Path(folder) / "bundle",
            target=target,
            threads=threads,
            records=records,
        )
        return profile_bundle(made.path, threads=threads, runs=runs, memory=memory)
