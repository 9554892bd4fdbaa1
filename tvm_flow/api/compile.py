"""``compile``: a network and the tuning records -> a verified bundle."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from targets import Board
from tvm_flow.api.boards import board_of, layout_of, records_of
from tvm_flow.api.choose import RecordChooser
from tvm_flow.api.networks import LoadedModel, load_model, to_graph
from tvm_flow.api.verify import verify
from tvm_flow.bundle import write_bundle
from tvm_flow.errors import UsageError
from tvm_flow.lowered import Lowered
from tvm_flow.passes.pipeline import lower, optimise
from tvm_flow.runtime.session import CheckReport

Array = NDArray[np.float32]
SAMPLE_SEED = 0


@dataclass(frozen=True)
class CompileReport(os.PathLike[str]):
    """A bundle that was written; usable wherever its path is.

    ``kernels``: distinct kernels of the network, ``tuned`` of them built from a tuning record
    found in ``records``, the others with the default schedule. ``verified``: the self-check made
    before the bundle was put in place, ``None`` where this machine cannot run it. ``notes``:
    remarks for the user, one line each. ``macs``: multiply-accumulates of one run.
    """

    path: Path
    model: str
    target: str
    threads: int
    layout: str
    kernels: int
    tuned: int
    records: Path
    verified: CheckReport | None
    macs: int
    library_bytes: int
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        return str(self.path)

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data; ``max_rel_error`` and ``tolerance`` are those of the check."""
        check = self.verified
        return {
            "path": str(self.path),
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "layout": self.layout,
            "kernels": self.kernels,
            "tuned": self.tuned,
            "records": str(self.records),
            "verified": check is not None,
            "max_rel_error": check.max_rel_error if check else None,
            "tolerance": check.tolerance if check else None,
            "macs": self.macs,
            "library_bytes": self.library_bytes,
            "notes": list(self.notes),
        }


def compile(
    model: str | nn.Module,
    *,
    output: str | Path,
    target: str | Board = "native",
    threads: int | None = None,
    weights: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    layout: str = "NCHW",
    records: str | Path | None = None,
    labels: Sequence[str] | None = None,
) -> CompileReport:
    """Compile a network into a bundle: library, manifest, sample, runners.

    Parameters
    ----------
    model, weights, input_shape, layout: as for :func:`tvm_flow.trace`.
    output: directory to create; an existing bundle there is replaced in one step.
    target: a board; see ``tvm-flow targets``.
    threads: worker threads, by default the board's own number.
    records: folder with one folder of tuning records per board (default: see
        :func:`tvm_flow.api.boards.records_root`).
    labels: class names, one per output.

    Every kernel is built from the best record of its workload on that board, and with the default
    schedule where there is none. The bundle is run on a random sample (seed 0) and compared with
    PyTorch eager before it appears at ``output``.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`RecordError`, :class:`CompileError`,
    and :class:`NumericsError` where the result is wrong; ``output`` is then as it was.
    """
    layout = layout_of(layout)
    board = board_of(target, threads)
    folder = records_of(board, records)
    chooser = RecordChooser.of(folder, board)
    loaded = load_model(model, weights=weights, input_shape=input_shape)
    lowered = lower(optimise(to_graph(loaded), layout), board, choose=chooser, layout=layout)
    sample, expected = _sample(loaded, lowered)
    verdicts: list[CheckReport] = []
    runs_here = board.arch == platform.machine()
    path = write_bundle(
        lowered,
        output,
        sample_input=sample,
        expected=expected,
        labels=labels,
        accept=(lambda fresh: verdicts.append(verify(fresh))) if runs_here else None,
    )
    notes = list(chooser.notes)
    if not runs_here:
        notes.append(f"not run here, this machine is {platform.machine()}: run.py --check there")
    distinct = {kernel.symbol: kernel.source for kernel in lowered.kernels}
    return CompileReport(
        path=path,
        model=lowered.model_name,
        target=board.name,
        threads=board.threads,
        layout=layout,
        kernels=len(distinct),
        tuned=sum(source == "tuned" for source in distinct.values()),
        records=folder,
        verified=verdicts[0] if verdicts else None,
        macs=lowered.macs,
        library_bytes=(path / "model.so").stat().st_size,
        notes=tuple(notes),
    )


def _sample(loaded: LoadedModel, lowered: Lowered) -> tuple[Array, Array]:
    """A random input, the same for every compilation, and the reference output, as the bundle
    takes and gives them."""
    rng = np.random.default_rng(SAMPLE_SEED)
    sample = rng.standard_normal(loaded.input_shape, np.float32)
    expected = loaded.run(sample)[0].astype(np.float32, copy=False)
    if not np.isfinite(expected).all():
        raise UsageError(
            f"{loaded.name} gives NaN or infinity for a random input",
            why="its weights may be broken, or its input is not what it was trained on",
            fix="check the weights with PyTorch",
        )
    if lowered.layout == "NHWC":
        sample, expected = (_nhwc(array) for array in (sample, expected))
    return sample, expected


def _nhwc(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
