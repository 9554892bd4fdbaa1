"""``compile``: a network and the tuning records -> a verified bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_flow.api.boards import board_of, layout_of, store_of
from tvm_flow.targets import Board

if TYPE_CHECKING:
    from torch import nn

    from tvm_flow.runtime.sample import CheckReport


@dataclass(frozen=True)
class CompileReport(os.PathLike[str]):
    """A bundle that was written; usable wherever its path is.

    ``kernels``: distinct kernels of the network, ``tuned`` of them built from a tuning record
    found in ``records`` or in ``committed_records`` (those installed with tvm-flow; ``None`` in a
    checkout, and where other records are named), the others with the default schedule.
    ``verified``: the self-check made
    before the bundle was put in place, ``None`` where this machine cannot run it. ``notes``:
    remarks for the user, one line each. ``macs``: multiply-accumulates of one run. Sizes are in
    bytes: of ``model.so``, of the C++ runner with TVM's runtime (0 without them), of all files.
    """

    path: Path
    model: str
    target: str
    threads: int
    layout: str
    kernels: int
    tuned: int
    records: Path
    committed_records: Path | None
    verified: CheckReport | None
    macs: int
    library_bytes: int
    runtime_bytes: int
    total_bytes: int
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
            "committed_records": str(self.committed_records) if self.committed_records else None,
            "verified": check is not None,
            "max_rel_error": check.max_rel_error if check else None,
            "tolerance": check.tolerance if check else None,
            "macs": self.macs,
            "library_bytes": self.library_bytes,
            "runtime_bytes": self.runtime_bytes,
            "total_bytes": self.total_bytes,
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
    runner: bool | None = None,
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
    runner: include the C++ runner for the board with TVM's runtime libraries and an installer; by
        default for another architecture than this machine's. The first one for an architecture
        is built and its libraries downloaded, which takes minutes.

    Every kernel is built from the best record of its workload on that board, and with the default
    schedule where there is none. The bundle is run on a random sample (seed 0) and compared with
    PyTorch eager before it appears at ``output``.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`RecordError`, :class:`CompileError`,
    :class:`EnvironmentFault` where the runner cannot be built, and :class:`NumericsError` where
    the result is wrong; ``output`` is then as it was.
    """
    layout = layout_of(layout)
    board = board_of(target, threads)
    store = store_of(board, records)
    # TVM and torch take seconds to import: what can be refused without them is refused by now
    from tvm_flow.api import network_to_bundle  # noqa: PLC0415
    from tvm_flow.api.networks import load_model  # noqa: PLC0415

    loaded = load_model(model, weights=weights, input_shape=input_shape)
    return network_to_bundle.build(
        loaded, Path(output), board, store, layout=layout, labels=labels, runner=runner
    )
