"""Targets and the folders of their tuning records, as every verb names them."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from tvm_flow import targets
from tvm_flow.api.values import TargetLike, target_value
from tvm_flow.support.errors import TargetError, UsageError
from tvm_flow.support.resources import checkout, package_file
from tvm_flow.support.user_folders import data_root
from tvm_flow.targets import Board, TargetFileError
from tvm_flow.tuning.records.files import ZOO as COMMITTED
from tvm_flow.tuning.records.store import RecordStore

RECORDS_VARIABLE = "TVM_FLOW_RECORDS"
LAYOUTS = ("NCHW", "NHWC")

__all__ = [
    "COMMITTED", "LAYOUTS", "RECORDS_VARIABLE", "board_of", "committed_root", "layout_of",
    "records_of", "records_root", "store_of",
]  # fmt: skip


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
    """The folder with one folder of tuning records per board, which tuning adds to.

    ``records`` where given, else the environment variable ``TVM_FLOW_RECORDS``, else
    ``tuning_logs`` of the checkout, and without a checkout the user's own:
    ``~/.local/share/tvm-flow/tuning_logs``, or below ``XDG_DATA_HOME``. It may not exist yet.
    Raises :class:`EnvironmentFault` for a user without a home folder.
    """
    chosen = _chosen(records)
    if chosen is not None:
        return chosen
    root = checkout()
    return (root or data_root()) / "tuning_logs"


def committed_root(records: str | Path | None = None) -> Path | None:
    """The records that were installed with the package, read before those of :func:`records_root`.

    ``None`` where other records are chosen, which then are the only ones, and in a checkout, where
    both lie in one folder. Raises :class:`EnvironmentFault` where the installation lacks them.
    """
    if _chosen(records) is not None or checkout() is not None:
        return None
    return package_file("tuning_logs")


def _chosen(records: str | Path | None) -> Path | None:
    named = records or os.environ.get(RECORDS_VARIABLE)
    return Path(named) if named else None


def records_of(board: Board, records: str | Path | None = None, device: str = "cpu") -> Path:
    """The folder that tuning for a board's device adds records to; it may not exist yet."""
    return records_root(records) / board.record_folder(device)


def store_of(board: Board, records: str | Path | None = None, device: str = "cpu") -> RecordStore:
    """All records of a board's device: the committed ones, then the user's own.

    ``records``: as for :func:`records_root`. Raises :class:`RecordError` for a damaged file and
    :class:`EnvironmentFault` as above.
    """
    committed = committed_root(records)
    return RecordStore(
        records_of(board, records, device),
        board.log_name,
        committed=committed and committed / board.record_folder(device),
    )


def layout_of(layout: str) -> str:
    """``nchw`` or ``nhwc`` in any case, as the passes spell it. Raises :class:`UsageError`."""
    if layout.upper() not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}", fix="--layout nchw or nhwc")
    return layout.upper()


def libc_of(libc: str | None) -> str | None:
    """What is linked for: ``"musl"``, a version of glibc such as ``"2.28"``, or by default the
    board's. Raises :class:`UsageError`."""
    if libc is not None and libc != "musl" and not re.fullmatch(r"2\.\d{1,2}", libc):
        raise UsageError(
            f"{libc!r} is no C library", fix="say musl, or a version of glibc such as 2.28"
        )
    return libc
