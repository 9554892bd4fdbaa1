"""Boards behind a tracker as the tuner's test bench."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from targets import Board
from tvm_flow.errors import BoardError, UsageError
from tvm_flow.remote.address import Address
from tvm_flow.remote.client import BoardInfo, require_farm
from tvm_flow.remote.runner import BoardRunner
from tvm_flow.remote.seats import Patience, SeatFinder
from tvm_flow.tuning.bench import TrialRunner
from tvm_flow.tuning.channel import Message
from tvm_flow.tuning.cores import CorePlan
from tvm_flow.tuning.options import TuneOptions

_MOST_SLOTS = 16


class BoardBench:
    """All boards a tracker has under one key; they must be of one kind.

    ``label`` is ``emulated`` where they are, else ``measured``; it is known once :meth:`plan` has
    asked the tracker.
    """

    label = "measured"

    def __init__(self, tracker: Address, key: str, patience: Patience | None = None) -> None:
        self.tracker, self.key, self._patience = tracker, key, patience
        self._slots = 1

    def plan(self, board: Board, threads: int) -> CorePlan:
        """Every core of this machine builds. Raises :class:`UsageError` for more threads than the
        board has cores, :class:`BoardError` where no board of the key is there."""
        if not 1 <= threads <= len(board.cores):
            raise UsageError(
                f"Cannot measure with {threads} threads",
                why=f"{board.name} runs on {len(board.cores)} cores",
                fix=f"--threads 1 to {len(board.cores)}",
            )
        there = boards_of(self.tracker, self.key)
        self.label = "emulated" if there[0].emulated else "measured"
        self._slots = min(len(there), _MOST_SLOTS)
        return CorePlan((), tuple(sorted(os.sched_getaffinity(0))))

    def runner(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> TrialRunner:
        """See :class:`BoardRunner`."""
        emulated = self.label == "emulated"

        def check(status: Message) -> None:
            require_board(status, board, emulated=emulated)

        return BoardRunner(
            board,
            SeatFinder(self.tracker, self.key, self._patience),
            folder,
            options,
            seed,
            slots=self._slots,
            emulated=emulated,
            check=check,
        )


def boards_of(tracker: Address, key: str) -> Sequence[BoardInfo]:
    """The boards of a key, at least one. Raises :class:`BoardError`, also where only some of them
    are emulated."""
    farm = require_farm(tracker)
    there = farm.of(key)
    if not there:
        known = sorted({board.key for board in farm.boards})
        raise BoardError(
            f"No board {key!r} is registered with {tracker}",
            why=f"it knows {', '.join(known)}" if known else "it knows no board at all",
            fix=f"start the board's server with --key {key}, or name another with --key",
        )
    if len({board.emulated for board in there}) > 1:
        raise BoardError(
            f"Some boards {key!r} are emulated and some are not",
            why="their times must not be mixed",
            fix="end the emulated ones, or give them another --key",
        )
    return there


def require_board(status: Message, board: Board, *, emulated: bool) -> None:
    """Raises :class:`BoardError` for a board of another architecture, or emulated unexpectedly.
    ``status`` is empty for TVM's stock server, of which nothing is known."""
    if not status:
        return
    if status["arch"] != board.arch:
        raise BoardError(
            f"The board {status['name'] or status['key']} is {status['arch']}",
            why=f"kernels for {board.name} are {board.arch}",
            fix="register it under another --key, or tune for another --target",
        )
    if status["emulated"] != emulated:
        raise BoardError(
            f"The board {status['name'] or status['key']} is {'' if emulated else 'not '}real",
            why="the tracker's others of this key are not",
            fix="end the emulated ones, or give them another --key",
        )
