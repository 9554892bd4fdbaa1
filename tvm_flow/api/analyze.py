"""``analyze``: why a network is fast or slow on a target, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tvm_flow.analysis.difference import Difference as Difference
from tvm_flow.analysis.difference import difference
from tvm_flow.analysis.layers import (
    MEASURED,
    MODELLED,
    Call,
    Layer,
    folded_parameters,
    layers_of,
    parameters_of,
)
from tvm_flow.analysis.peaks import peaks_of
from tvm_flow.analysis.report import AnalysisReport as AnalysisReport
from tvm_flow.analysis.report import WholeRun
from tvm_flow.api.boards import board_of, store_of
from tvm_flow.api.compile import compile
from tvm_flow.api.networks import load_model
from tvm_flow.api.values import ModelLike, TargetLike, target_value
from tvm_flow.backends import backend_of
from tvm_flow.ir.generic import GenericOperator
from tvm_flow.modelled.kernel_seconds import KernelModel
from tvm_flow.report.profile import kernel_entries, profile
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support import manifest
from tvm_flow.support.errors import EnvironmentFault, TuningError, UsageError
from tvm_flow.targets import Board


@dataclass(frozen=True)
class Comparison:
    """Two networks on one target, and what lies between them."""

    first: AnalysisReport
    second: AnalysisReport
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "difference": self.difference.to_json(),
        }


def analyze(
    model: ModelLike,
    *,
    target: TargetLike = "native",
    threads: int | None = None,
    runs: int = 50,
    records: str | Path | None = None,
    measure_peaks: bool = False,
) -> AnalysisReport:
    """What each kernel of a network computes and moves, what that should take on a target by the
    target's peaks, and what it takes.

    Parameters
    ----------
    model, records: as for :func:`tvm_flow.compile`, which compiles it for the purpose.
    target: this machine, where kernels are timed, or a board, where times are modelled: those of
        the tuning records, and for kernels without one by emulating them.
    threads: worker threads, by default the board's own number. Boards are modelled on one.
    runs: runs that every measured time is the 10th percentile of: peaks are the best of many runs
        too, and other load only ever makes a run slower.
    measure_peaks: measure this machine's peaks anew instead of taking those that are kept.

    Raises :class:`UsageError`, and what compiling and profiling raise.
    """
    if runs < 1:
        raise UsageError(f"cannot analyze {runs} runs", fix="ask for 1 or more")
    board = analysis_board(target, threads)
    device = target_value(target).device
    peaks = peaks_of(board, again=measure_peaks)
    with tempfile.TemporaryDirectory(prefix="tvm-flow-analyze-") as folder:
        made = compile(
            model, output=Path(folder) / "bundle", target=_with_board(target, board),
            threads=board.threads, records=records, runner=False,
        )  # fmt: skip
        data = manifest.read(made.path).data
        calls = _calls(data)
        module = load_model(model).module
        counted = {} if module is None else parameters_of(module)
        total = sum(counted.values()) if counted else folded_parameters(calls)
        backend = backend_of(device)
        layers = layers_of(calls, backend.device(board, board.threads), peaks, counted)
        report = AnalysisReport(
            made.model, board.name, board.threads, peaks, layers, total, not counted,
            tuple(_generic(entry) for entry in data["generic"]), None,
        )  # fmt: skip
        if board.is_native:
            return _timed(report, made.path, board.threads, runs)
        return _modelled(report, calls, board, records, device)


def analyze_both(
    first: ModelLike,
    second: ModelLike,
    *,
    target: TargetLike = "native",
    threads: int | None = None,
    runs: int = 50,
    records: str | Path | None = None,
    measure_peaks: bool = False,
) -> Comparison:
    """What lies between two networks on one target: where the second takes longer, or less, than
    its FLOPs say. Arguments and errors are those of :func:`analyze`; raises :class:`UsageError` too
    for a network without a convolution or product."""
    load_model(second)  # what is wrong with it shows before minutes are spent on the first
    one, two = (
        analyze(
            model, target=target, threads=threads, runs=runs, records=records,
            measure_peaks=measure_peaks and model is first,
        )
        for model in (first, second)
    )  # fmt: skip
    for report in (one, two):
        if not sum(layer.macs for layer in report.layers):
            raise UsageError(
                f"{report.model} multiplies nothing that tvm-flow has a kernel for",
                fix="compare networks with convolutions or products",
            )
    return Comparison(one, two, difference(one, two))


def analysis_board(target: TargetLike, threads: int | None) -> Board:
    """The board with the threads that are analysed; boards are modelled on one."""
    board = board_of(target, threads)
    return replace(board, threads=1) if threads is None and not board.is_native else board


def _with_board(target: TargetLike, board: Board) -> TargetLike:
    return replace(target_value(target), board=board)


def _calls(data: dict[str, Any]) -> list[Call]:
    pairs = zip(data["calls"], kernel_entries(data), strict=True)
    return [Call(call["symbol"], info, call["argument_bytes"]) for call, info in pairs]


def _generic(entry: dict[str, Any]) -> GenericOperator:
    return GenericOperator(**{**entry, "modules": tuple(entry["modules"])})


def _timed(report: AnalysisReport, bundle: Path, threads: int, runs: int) -> AnalysisReport:
    found = profile(bundle, threads=threads, runs=runs)
    layers = tuple(
        replace(layer, time_s=1e-6 * kernel.p10_us, time_word=MEASURED)
        for layer, kernel in zip(report.layers, found.kernels, strict=True)
    )
    total = found.total
    whole = WholeRun(
        1e-3 * total.p10_ms, 1e-3 * total.median_ms, 1e-6 * found.overhead_us, found.valid,
        found.reason,
    )  # fmt: skip
    return replace(report, layers=layers, whole=whole)


def _modelled(
    report: AnalysisReport, calls: Sequence[Call], board: Board, records: str | Path | None,
    device: str,
) -> AnalysisReport:  # fmt: skip
    """Times of the records that the kernels were built from; the others by the model of the core,
    as far as it can be had here."""
    backend, store = backend_of(device), store_of(board, records, device)
    recorded = {r.sha: r for r in store.records if r.ok and r.threads == board.threads}
    model: KernelModel | None = None
    notes: list[str] = []
    layers: list[Layer] = []
    for layer, call in zip(report.layers, calls, strict=True):
        seconds, word = None, ""
        record = recorded.get(call.info["record_sha"] or "") if call.info else None
        if record is not None:
            seconds, word = record.seconds, record.label
        elif call.info and not notes:
            try:
                model = model or KernelModel(board, backend)
                seconds = model.seconds(Workload.parse(layer.workload), call.info["knobs"])
                word = MODELLED
            except (EnvironmentFault, TuningError, UsageError) as error:
                notes.append(f"not every kernel has a time: {error}")
        layers.append(replace(layer, time_s=seconds, time_word=word))
    return replace(report, layers=tuple(layers), notes=tuple(notes))
