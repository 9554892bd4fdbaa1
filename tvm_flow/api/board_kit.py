"""``board-kit``: what a board needs to join a farm."""

from __future__ import annotations

from pathlib import Path

from tvm_flow.api.boards import board_of
from tvm_flow.boards.kit import Kit as Kit
from tvm_flow.boards.kit import write_kit
from tvm_flow.targets import Board


def board_kit(
    target: str | Path | Board,
    *,
    output: str | Path,
    key: str | None = None,
    threads: int | None = None,
) -> Kit:
    """Write a board kit: the RPC server with its libraries, a service, an installer, a README.

    Parameters
    ----------
    target: a board; see ``tvm-flow targets``.
    output: directory to create; a kit that exists there is replaced in one step.
    key: what clients ask the tracker for, by default the target's name.
    threads: worker threads of a session, by default the board's own number.

    Raises :class:`TargetError`, :class:`UsageError`, :class:`CompileError`, and
    :class:`EnvironmentFault` where a tool or (for another architecture, the first time) the
    network is missing.
    """
    return write_kit(board_of(target, threads), output, key=key)
