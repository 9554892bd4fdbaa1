"""Targets and the folders of their tuning records, as every verb names them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tvm_flow import targets
from tvm_flow.support.errors import TargetError, UsageError
from tvm_flow.targets import Board, TargetFileError

ROOT = Path(__file__).parents[2]
RECORDS_VARIABLE = "TVM_FLOW_RECORDS"
LAYOUTS = ("NCHW", "NHWC")


def board_of(target: str | Path | Board, threads: int | None = None) -> Board:
    """The board ``target`` names, limited to ``threads`` worker threads where given.

    ``target``: a name of :func:`targets.names`, the path of a ``.toml`` file, or a board. Raises
    :class:`TargetError`, and :class:`UsageError` for more threads than the board has cores.
    """
    try:
        board = target if isinstance(target, Board) else targets.load(target)
    except TargetFileError as error:
        raise TargetError(error.what, why=error.why, fix=error.fix) from error
    if threads is None:
        return board
    if not 1 <= threads <= len(board.cores):
        raise UsageError(
            f"Cannot use {threads} thread(s) on {board.name}",
            why=f"it runs on {len(board.cores)} core(s) here",
            fix=f"--threads 1 to {len(board.cores)}",
        )
    return dataclasses.replace(board, threads=threads)


def records_root(records: str | Path | None = None) -> Path:
    """The folder with one folder of tuning records per board.

    ``records`` where given, else the environment variable ``TVM_FLOW_RECORDS``, else
    ``tuning_logs`` of the checkout, or of the working directory where there is no checkout.
    """
    chosen = records or os.environ.get(RECORDS_VARIABLE)
    if chosen:
        return Path(chosen)
    committed = ROOT / "tuning_logs"
    return committed if committed.is_dir() else Path("tuning_logs")


def records_of(board: Board, records: str | Path | None = None) -> Path:
    """The folder of one board's tuning records; it may not exist yet."""
    return records_root(records) / board.log_name


def layout_of(layout: str) -> str:
    """``nchw`` or ``nhwc`` in any case, as the passes spell it. Raises :class:`UsageError`."""
    if layout.upper() not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}", fix="--layout nchw or nhwc")
    return layout.upper()
