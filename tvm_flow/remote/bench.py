"""Boards behind a tracker as the tuner's test bench."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tvm_flow.remote.board_pool import BoardPool, Patience
from tvm_flow.remote.client import boards_of, wrong_arch
from tvm_flow.remote.probe import judged, probe_boards
from tvm_flow.remote.protocol import OpenAnswer
from tvm_flow.remote.runner import BoardRunner
from tvm_flow.support.address import Address
from tvm_flow.support.errors import BoardError, UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker.bench import TrialRunner
from tvm_flow.tuning.worker.cores import CorePlan

_MOST_SLOTS = 16


class BoardBench:
    """All boards a tracker has under one key; they must be of one kind.

    ``label`` is ``emulated`` where they are, else ``measured``; it is known once :meth:`plan` has
    asked the tracker. ``on_wait`` is called with what is waited for before the first trial; later
    waits are notes of the runner.
    """

    label = "measured"

    def __init__(
        self,
        tracker: Address,
        key: str,
        patience: Patience | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.tracker, self.key, self._patience, self._on_wait = tracker, key, patience, on_wait
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
        there = boards_of(self.tracker, self.key, board.arch)
        self.label = "emulated" if there[0].emulated else "measured"
        self._slots = min(len(there), _MOST_SLOTS)
        return CorePlan((), tuple(sorted(os.sched_getaffinity(0))))

    def runner(
        self, board: Board, plan: CorePlan, folder: Path, options: TuneOptions, seed: int
    ) -> TrialRunner:
        """See :class:`BoardRunner`."""
        emulated = self.label == "emulated"

        def check(opened: OpenAnswer) -> None:
            require_board(opened, board, emulated=emulated)

        odd = self._odd_boards(board) if self._slots > 1 else {}
        return BoardRunner(
            board,
            BoardPool(self.tracker, self.key, self._patience, aside=odd),
            folder,
            options,
            seed,
            slots=self._slots - len(odd),
            emulated=emulated,
            check=check,
        )

    def _odd_boards(self, board: Board) -> dict[str, str]:
        """Addresses of boards to set aside, and why: those that share a run must agree on what is
        fast. Where all are noisy they are used all the same: none is better than the others.
        Raises :class:`BoardError` where not one of them works."""
        pool = BoardPool(self.tracker, self.key, self._patience, on_wait=self._on_wait)
        probes = judged(probe_boards(pool, board, self._slots))
        if all(probe.trouble for probe in probes):
            probes = [replace(p, trouble="") if p.seconds is not None else p for p in probes]
        odd = {probe.address: probe.trouble for probe in probes if probe.trouble}
        if len(odd) == len(probes):
            raise BoardError(
                f"No board {self.key!r} is fit to measure on",
                why="; ".join(f"{place}: {why}" for place, why in odd.items()),
                fix=f"tvm-flow boards check {self.key}",
            )
        return odd


def require_board(opened: OpenAnswer, board: Board, *, emulated: bool) -> None:
    """Raises :class:`BoardError` for a board of another architecture, or emulated unexpectedly.
    ``opened`` is what a board worker tells of its session; the status in it is empty for TVM's
    stock server."""
    status = opened.board
    if trouble := wrong_arch(opened.arch, board.arch):
        raise BoardError(
            f"The board {status.get('name') or opened.place} is no {board.name}",
            why=trouble,
            fix="register it under another key, or choose the --target it is",
        )
    if status and status["emulated"] != emulated:
        raise BoardError(
            f"The board {status['name'] or status['key']} is {'' if emulated else 'not '}real",
            why="the tracker's others of this key are not",
            fix="end the emulated ones, or give them another --key",
        )
