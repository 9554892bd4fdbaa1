"""What ``compile`` does once its arguments are known to make sense."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from tvm_flow.api.choose import RecordChooser
from tvm_flow.api.compile_report import CompileReport
from tvm_flow.api.dump import Dump
from tvm_flow.api.networks import LoadedModel, optimised
from tvm_flow.api.proof import Proof, foreign
from tvm_flow.api.sample import bordered, sample_for
from tvm_flow.api.values import BUNDLE, SINGLE_FILE, TVM
from tvm_flow.backends import Backend
from tvm_flow.boards.deploy import deploy_bytes
from tvm_flow.bundle.formats import require_library_place, write_single_file, write_tvm_library
from tvm_flow.bundle.write import LIBRARY, BundleOptions, write_bundle
from tvm_flow.ir.generic import remark
from tvm_flow.ir.lowered import Lowered
from tvm_flow.support import manifest
from tvm_flow.support.errors import CompileError, UsageError
from tvm_flow.support.publish import refuse_foreign
from tvm_flow.targets import Board
from tvm_flow.tuning.records.store import RecordStore


def build(
    loaded: LoadedModel,
    output: Path,
    board: Board,
    store: RecordStore,
    *,
    backend: Backend,
    layout: str,
    options: BundleOptions,
    format: str = BUNDLE,
    strict: bool = False,
    dump: Path | None = None,
) -> CompileReport:
    """See :func:`tvm_flow.api.compile.compile`; ``layout`` is upper case here."""
    start = time.perf_counter()
    if format == BUNDLE:  # before time is spent on it
        refuse_foreign(output, "bundle", manifest.is_bundle)
    else:
        require_library_place(output)
    dumped = None if dump is None else Dump(dump)
    chooser = RecordChooser(store, board, backend)
    watch = dumped.graph if dumped else None
    checked = optimised(loaded, backend, board, layout, watch, chooser)
    lowered = backend.lower(checked.graph, board, choose=chooser, layout=layout)
    if strict:
        require_kernels(lowered)
    if dumped:
        dumped.kernels(lowered, backend)
    sample, expected = sample_for(loaded)
    proof = Proof(loaded, layout, format, foreign(board, options.libc))
    tolerance = proof.expect(checked.error, expected, options.tolerance)
    write = {SINGLE_FILE: write_single_file, TVM: write_tvm_library}.get(format, write_bundle)
    path = write(
        lowered,
        output,
        sample=bordered(sample, layout),
        expected=bordered(expected, layout),
        options=replace(options, tolerance=tolerance, reference=loaded.reference),
        accept=proof.accept,
        prove=proof.before,
    )
    notes = [*loaded.remarks, *chooser.remarks(kernel.workload for kernel in lowered.kernels)]
    notes += remark(lowered.generic, lowered.macs)
    notes += proof.notes(runner=options.runner)
    distinct = {kernel.symbol: kernel.source for kernel in lowered.kernels}
    return CompileReport(
        path=path,
        model=lowered.model_name,
        target=board.name,
        threads=board.threads,
        layout=layout,
        kernels=len(distinct),
        tuned=sum(source == "tuned" for source in distinct.values()),
        records=store.directory,
        committed_records=store.committed,
        graph=checked,
        verified=proof.network,
        samples=proof.samples,
        foreign_kernels=proof.kernels,
        reference=loaded.reference,
        picture=options.picture,
        macs=lowered.macs,
        library_bytes=(path if path.is_file() else path / LIBRARY).stat().st_size,
        runtime_bytes=deploy_bytes(path),
        total_bytes=sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()),
        seconds=time.perf_counter() - start,
        verifying=checked.seconds + proof.seconds,
        notes=tuple(notes),
    )


def require_kernels(lowered: Lowered) -> None:
    """Raise :class:`CompileError` for a network with operators that no kernel computes."""
    for words in remark(lowered.generic, lowered.macs):
        raise CompileError(
            f"{lowered.model_name} is not all kernels",
            why=words.partition(":")[0],
            fix="leave --strict out, or change the model there",
        )


def require_no_bundle(folder: Path) -> None:
    """Raise :class:`UsageError` for a folder of bundles that is a bundle itself: replacing that
    would delete those in it."""
    if manifest.is_bundle(folder):
        raise UsageError(
            f"{folder} is a bundle itself",
            why="every target gets a bundle below --output",
            fix="choose another --output",
        )
