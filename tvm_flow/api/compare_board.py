"""``compare --tracker``: the compiled network against PyTorch eager, both on a board."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tvm_flow.api.boards import board_of
from tvm_flow.api.compile import compile
from tvm_flow.api.networks import LoadedModel, load_model
from tvm_flow.api.values import (
    ModelLike,
    Target,
    TargetLike,
    Tracker,
    target_value,
    tracker_value,
)
from tvm_flow.frontend.export import export
from tvm_flow.frontend.forward import ByPlace
from tvm_flow.frontend.quiet import quiet
from tvm_flow.remote.client import boards_of
from tvm_flow.remote.compare import RUNS, compare_on_board
from tvm_flow.remote.compare import BoardComparison as BoardComparison
from tvm_flow.support.address import parse_address
from tvm_flow.support.errors import UsageError


def compare_board(
    model: ModelLike,
    *,
    target: TargetLike,
    tracker: str | Tracker,
    bundle: str | Path | None = None,
    threads: Sequence[int] | None = None,
    records: str | Path | None = None,
    runs: int = RUNS,
    on_wait: Callable[[str], None] | None = None,
) -> list[BoardComparison]:
    """Run a network's bundle on a board, and PyTorch eager there if PyTorch is installed there.

    Parameters
    ----------
    model, bundle, records: as for :func:`tvm_flow.compare`.
    target: the kind of board.
    tracker: ``HOST:PORT``, or a :class:`tvm_flow.Tracker` with the key of the boards.
    threads: numbers of threads, one comparison each; by default the board's own number.
    runs: timed runs of each competitor (the bundle's before and after eager's).
    on_wait: called with what is waited for where others use the boards.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`CompileError`, :class:`BoardError` and
    :class:`NumericsError`.
    """
    there = tracker_value(tracker)
    address, board = parse_address(there.address), board_of(target)
    counts = list(threads or [board.threads])
    for count in counts:
        board_of(board, count)
    if runs < 1:
        raise UsageError(f"Cannot time {runs} runs", fix="--rounds 1 or more")
    name = there.key or board.name
    boards_of(address, name, board.arch)  # refuse before minutes are spent compiling
    loaded = load_model(model)
    results = []
    with tempfile.TemporaryDirectory(prefix="tvm-flow-compare-") as folder:
        program = _program(loaded, Path(folder) / "model.pt2")
        for count in counts:
            path = Path(bundle) if bundle is not None else Path(folder) / f"threads{count}"
            if bundle is None:
                compile(
                    model, output=path, target=Target(board, target_value(target).device),
                    threads=count, records=records,
                )  # fmt: skip
            results.append(
                compare_on_board(
                    path,
                    board,
                    address,
                    name,
                    program=program,
                    threads=count,
                    runs=runs,
                    on_wait=on_wait,
                )
            )
    return results


def _program(loaded: LoadedModel, path: Path) -> Path | None:
    """The network as a file PyTorch alone can run; ``None`` for one that came from ONNX."""
    if loaded.onnx is not None:
        return None
    program = loaded.program
    if program is None or not loaded.plain:
        assert loaded.module is not None
        program = export(ByPlace(loaded.module, loaded.keywords), loaded.sample)
    with quiet():
        torch.export.save(program, path)
    return path
