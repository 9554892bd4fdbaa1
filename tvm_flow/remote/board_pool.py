"""Getting a board from the tracker, and knowing when to stop waiting for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tvm_flow.remote import client
from tvm_flow.remote.client import BoardInfo, GrantedBoard, NoneFree, TrackerGone
from tvm_flow.support.address import Address
from tvm_flow.support.errors import BoardError

_FIRST_ASK_S, _ASK_S = 0.5, 2.0  # the first question to the tracker, and the later ones
_BETWEEN_TURNS_S = 4.0  # those who share a board wait that long for each other all the time
_TELL_S = 30.0
_PAUSE_S = 0.5
_SILENT_S = 8.0  # our server says something every 2 s, also during sessions


@dataclass(frozen=True)
class Patience:
    """Seconds. ``absent``: no tracker, or no board registered that may be used (one reboots in half
    a minute). ``taken``: boards are there, but others use them; the longest comparison with
    PyTorch on a board takes a quarter of an hour."""

    absent: float = 90.0
    taken: float = 1000.0


@dataclass(frozen=True)
class _NoBoard:
    """Why there is none to be had; ``there``: whether boards that may be used are registered."""

    cause: str
    there: bool


class Closing(Exception):
    """The tuner is shutting down."""


class BoardPool:
    """Boards of one key, one at a time; from several threads.

    ``aside``: addresses of boards not to use, and why; where the tracker offers one of them, it is
    left waiting and the next one is asked for. Where no others are registered there is no board.
    ``on_wait``: called with what is waited for and how long at most, as soon as there is a wait,
    and every half a minute.
    """

    def __init__(
        self,
        tracker: Address,
        key: str,
        patience: Patience | None = None,
        *,
        aside: Mapping[str, str] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.tracker, self.key, self.aside = tracker, key, dict(aside or {})
        self._patience, self._on_wait = patience or Patience(), on_wait
        self._closing = threading.Event()
        self._waits: dict[int, str] = {}

    def close(self) -> None:
        """End every wait."""
        self._closing.set()

    @property
    def waiting(self) -> str:
        """What is being waited for, or an empty text."""
        return next(iter(list(self._waits.values())), "")

    def find(self) -> GrantedBoard:
        """A free board. Raises :class:`BoardError` when patience ends, or :class:`Closing`."""
        thread, began = threading.get_ident(), time.monotonic()
        present, tell_at, ask_s = began, began, _FIRST_ASK_S
        try:
            while True:
                found = self._ask(ask_s)
                if isinstance(found, GrantedBoard):
                    return found
                now, ask_s = time.monotonic(), _ASK_S
                present = now if found.there else present
                left = min(present + self._patience.absent, began + self._patience.taken) - now
                if left <= 0:
                    raise self._lost(found.cause, now - began)
                told = f"waiting for a board, {left:.0f} s more at most: {found.cause}"
                if now - began > _BETWEEN_TURNS_S:
                    self._waits[thread] = told
                if self._on_wait is not None and now >= tell_at:
                    tell_at = now + _TELL_S
                    self._on_wait(told)
                if self._closing.wait(min(_PAUSE_S, left)):
                    raise Closing
        finally:
            self._waits.pop(thread, None)

    def _ask(self, seconds: float) -> GrantedBoard | _NoBoard:
        """A board, or why there is none."""
        if self._closing.is_set():
            raise Closing
        try:
            with suppress(NoneFree):
                granted = client.request(self.tracker, self.key, seconds)
                if granted.place not in self.aside:
                    return granted
            there = client.summary(self.tracker).of(self.key)
        except (TrackerGone, TimeoutError) as gone:
            return _NoBoard(f"no tracker answers at {self.tracker} ({gone})", there=False)
        return self._why_none(there)

    def _why_none(self, there: Sequence[BoardInfo]) -> _NoBoard:
        """Why none of the registered boards of the key is to be had."""
        if not there:
            cause = f"no board {self.key!r} is registered with {self.tracker}"
            return _NoBoard(cause, there=False)
        usable = [board for board in there if board.address not in self.aside]
        if not usable:
            why = "; ".join(f"{board.address}: {self.aside[board.address]}" for board in there)
            return _NoBoard(f"every board {self.key!r} left is set aside: {why}", there=False)
        silent = [board.silent_s or 0.0 for board in usable if board.health]
        if silent and len(silent) == len(usable) and min(silent) > _SILENT_S:
            cause = (
                f"board {self.key!r} has said nothing for {min(silent):.0f} s: it is frozen, or "
                "its network is cut"
            )
            return _NoBoard(cause, there=False)
        users = ", ".join(f"{b.label} ({f'by {b.client}' if b.client else 'busy'})" for b in usable)
        return _NoBoard(f"others use {users}", there=True)

    def _lost(self, cause: str, seconds: float) -> BoardError:
        return BoardError(
            f"No board {self.key!r} for {seconds:.0f} s",
            why=cause,
            fix="look at tvm-flow boards, start the board's server again, and repeat the command: "
            "it goes on from what is recorded",
        )
