"""``compare``: the compiled network against PyTorch eager, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tvm_flow.api.compile import compile
from tvm_flow.api.values import ModelLike, TargetLike, model_value
from tvm_flow.measure.timing import quiet_cores
from tvm_flow.report.compare import CompareResult as CompareResult
from tvm_flow.report.compare import compare as compare_bundle
from tvm_flow.support.errors import UsageError

ROUNDS, ROUND_S = 20, 0.3


def compare(
    model: ModelLike,
    *,
    bundle: str | Path | None = None,
    target: TargetLike = "native",
    threads: Sequence[int] = (1,),
    records: str | Path | None = None,
    inputs: Sequence[NDArray[Any] | Sequence[NDArray[Any]]] = (),
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
) -> list[CompareResult]:
    """Compare a network with PyTorch eager (plain, BN folded, channels_last): time and numerics.

    Parameters
    ----------
    model: as for :func:`tvm_flow.trace`.
    bundle: a directory that :func:`tvm_flow.compile` wrote from this model; by default the model
        is compiled for each number of threads with the records there are.
    target, records: for that compilation, as for :func:`tvm_flow.compile`.
    threads: numbers of threads, one comparison each; both sides get the same cores.
    inputs: further inputs whose results are compared, besides the sample and random ones; of a
        network that takes several an array for each.
    rounds, round_s: undisturbed rounds wanted, and seconds per competitor in each.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`BundleError`, :class:`CompileError`
    and :class:`MeasurementError`.
    """
    given = model_value(model)
    if isinstance(given.source, str) and given.source.endswith(".onnx"):
        raise UsageError(
            f"{given.source} cannot be compared with PyTorch",
            why="an ONNX file has no PyTorch module",
            fix="compare the module it was exported from",
        )
    for count in threads:
        quiet_cores(count)  # refuse before minutes are spent compiling
    against = partial(
        compare_bundle,
        given.source,
        weights=given.weights,
        inputs=inputs,
        rounds=rounds,
        round_s=round_s,
    )
    if bundle is not None:
        return against(bundle, threads=threads)
    results = []
    with tempfile.TemporaryDirectory(prefix="tvm-flow-compare-") as folder:
        for count in threads:
            made = compile(
                model,
                output=Path(folder) / f"threads{count}",
                target=target,
                threads=count,
                records=records,
            )
            results += against(made.path, threads=[count])
    return results
