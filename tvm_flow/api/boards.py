"""Targets and the folders of their tuning records, as every verb names them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tvm_flow import targets
from tvm_flow.api.values import TargetLike, target_value
from tvm_flow.support.errors import TargetError, UsageError
from tvm_flow.targets import Board, TargetFileError
from tvm_flow.tuning.records.store import RecordStore

ROOT = Path(__file__).parents[2]
RECORDS_VARIABLE = "TVM_FLOW_RECORDS"
LAYOUTS = ("NCHW", "NHWC")


def board_of(target: TargetLike, threads: int | None = None) -> Board:
    """The board ``target`` names, limited to ``threads`` worker threads where given.

    Raises :class:`TargetError`, and :class:`UsageError` for more threads than the board has cores.
    """
    named = target_value(target).board
    try:
        board = named if isinstance(named, Board) else targets.load(named)
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


def records_of(board: Board, records: str | Path | None = None, device: str = "cpu") -> Path:
    """The folder of one board's tuning records for a device; it may not exist yet."""
    return records_root(records) / board.record_folder(device)


def store_of(board: Board, records: str | Path | None = None, device: str = "cpu") -> RecordStore:
    """The tuning records of a board's device. Raises :class:`RecordError` for damaged ones."""
    return RecordStore(records_of(board, records, device), board.log_name)


def layout_of(layout: str) -> str:
    """``nchw`` or ``nhwc`` in any case, as the passes spell it. Raises :class:`UsageError`."""
    if layout.upper() not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}", fix="--layout nchw or nhwc")
    return layout.upper()
