"""``emulate``: boards that are not there, for trying out a farm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tvm_flow.api.boards import board_of
from tvm_flow.boards.emulate import EmulatedBoard, emulator_command
from tvm_flow.boards.server_build import server_program
from tvm_flow.support.address import DEFAULT_TRACKER, parse_address
from tvm_flow.support.errors import EnvironmentFault, UsageError
from tvm_flow.targets import Board

MOST_BOARDS = 64


@dataclass(frozen=True)
class EmulateReport:
    """Boards that were emulated until they were asked to stop."""

    target: str
    key: str
    tracker: str
    boards: int

    def to_json(self) -> dict[str, Any]:
        return {"target": self.target, "key": self.key, "tracker": self.tracker,
                "boards": self.boards, "emulated": True}  # fmt: skip


def prepare(target: str | Path | Board, tracker: str, count: int, port: int) -> Board:
    """Check the arguments of :func:`emulate`, and build the server where that was not done yet,
    which takes a minute or two."""
    board = board_of(target)
    parse_address(tracker)
    if not 1 <= count <= MOST_BOARDS:
        raise UsageError(f"Cannot emulate {count} boards", fix=f"--count 1 to {MOST_BOARDS}")
    if not 0 <= port <= 65535 - count:
        raise UsageError(f"There is no port {port}", fix="--port 0 takes free ones")
    emulator_command(board)
    server_program(board.arch)
    return board


def emulate(
    target: str | Path | Board,
    *,
    stop: threading.Event,
    tracker: str = DEFAULT_TRACKER,
    key: str | None = None,
    count: int = 1,
    port: int = 0,
    say: Callable[[str], None] = print,
) -> EmulateReport:
    """Run ``count`` emulated boards that register with a tracker, until ``stop`` is set.

    Parameters
    ----------
    target: a board; see ``tvm-flow targets``.
    tracker: ``HOST:PORT``; it may be started later, the boards keep trying.
    key: what clients ask for, by default the target's name.
    port: of the first board, the others take the next ones; 0 takes free ones.
    say: called with each line there is to show, from several threads.

    Raises :class:`UsageError`, :class:`TargetError`, and :class:`EnvironmentFault` where QEMU is
    missing or a board's server ends by itself. No process is left in any case.
    """
    board = prepare(target, tracker, count, port)
    say(f"emulating {count} {board.name}: its times mean nothing, its results are the real ones")
    with ExitStack() as stack:
        boards = []
        for index in range(count):
            name = f"emulated-{board.name}-{index}"
            made = EmulatedBoard(
                board, tracker, key=key, port=port and port + index, name=name,
                on_line=partial(_relay, say, name),
            )  # fmt: skip
            stack.callback(made.stop)
            made.launch()
            boards.append(made)
        while not stop.wait(0.2):
            _require_alive(boards)
    return EmulateReport(board.name, boards[0].key, tracker, count)


def _relay(say: Callable[[str], None], name: str, line: str) -> None:
    say(f"{name}: {line}")


def _require_alive(boards: list[EmulatedBoard]) -> None:
    for board in boards:
        if not board.running:
            raise EnvironmentFault(
                "An emulated board ended by itself",
                why=board.log.rpartition("\n")[2] or "it said nothing",
                fix="see what it said before",
            )
