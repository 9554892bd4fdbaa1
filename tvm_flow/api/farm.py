"""``boards``: who is registered with a tracker, and whether they can be measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_flow.api.boards import board_of
from tvm_flow.remote.client import BoardInfo as BoardInfo
from tvm_flow.remote.client import Farm as Farm
from tvm_flow.remote.client import registered, require_farm
from tvm_flow.support.address import DEFAULT_TRACKER, parse_address
from tvm_flow.targets import Board

if TYPE_CHECKING:
    from tvm_flow.remote.probe import Probe as Probe


def boards(tracker: str = DEFAULT_TRACKER) -> Farm:
    """The boards of a tracker. Raises :class:`UsageError`, and :class:`BoardError` without one."""
    return require_farm(parse_address(tracker))


def check_boards(
    key: str,
    *,
    tracker: str = DEFAULT_TRACKER,
    target: str | Path | Board | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> list[Probe]:
    """A round trip to every board of a key: upload, run, compare with the reference, noise. One
    that others use all the time is in the result, as not checked.

    ``target`` is the kind of board, by default the one named ``key``. ``on_wait`` is called with
    what is waited for where others use the boards. Raises
    :class:`UsageError`, :class:`TargetError`, :class:`BoardError` where there is no such board.
    """
    address = parse_address(tracker)
    board = board_of(target or key)
    there = registered(address, key)
    from tvm_flow.remote.board_pool import BoardPool  # noqa: PLC0415
    from tvm_flow.remote.probe import (  # noqa: PLC0415 - imports TVM
        PATIENCE,
        judged,
        probe_boards,
        unchecked,
    )

    pool = BoardPool(address, key, PATIENCE, on_wait=on_wait)
    probes = judged(probe_boards(pool, board, len(there)))
    return [*probes, *unchecked(there, probes)]
