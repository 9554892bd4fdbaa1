"""Getting a board from the tracker, and knowing when to stop waiting for one."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from tvm_flow.errors import BoardError
from tvm_flow.remote import client
from tvm_flow.remote.address import Address
from tvm_flow.remote.client import NoneFree, Seat, TrackerGone

_ASK_S = 2.0  # one question to the tracker
_PAUSE_S = 0.5
_SILENT_S = 8.0  # our server says something every 2 s, also during sessions


@dataclass(frozen=True)
class Patience:
    """Seconds. ``absent``: no tracker, or no board of the key registered (a board reboots in half
    a minute). ``taken``: boards are there, but others use them."""

    absent: float = 90.0
    taken: float = 1800.0


class Closing(Exception):
    """The tuner is shutting down."""


class SeatFinder:
    """Boards of one key, one seat at a time; from several threads.

    ``aside``: addresses of boards not to use, and why; where the tracker offers one of them, it is
    left waiting and the next one is asked for.
    """

    def __init__(
        self,
        tracker: Address,
        key: str,
        patience: Patience | None = None,
        *,
        aside: Mapping[str, str] | None = None,
    ) -> None:
        self.tracker, self.key, self.aside = tracker, key, dict(aside or {})
        self._patience = patience or Patience()
        self._closing = threading.Event()
        self._waits: dict[int, str] = {}

    def close(self) -> None:
        """End every wait."""
        self._closing.set()

    @property
    def waiting(self) -> str:
        """What is being waited for, or an empty text."""
        return next(iter(list(self._waits.values())), "")

    def find(self) -> Seat:
        """A free board. Raises :class:`BoardError` when patience ends, or :class:`Closing`."""
        thread, began = threading.get_ident(), time.monotonic()
        present = began
        try:
            while True:
                cause, there = self._ask()
                if isinstance(cause, Seat):
                    if cause.place not in self.aside:
                        return cause
                    cause = f"{cause.place} is set aside: {self.aside[cause.place]}"
                now = time.monotonic()
                present = now if there else present
                if now - present > self._patience.absent or now - began > self._patience.taken:
                    raise self._lost(cause, now - began)
                if now - began > 2 * _ASK_S:
                    self._waits[thread] = (
                        f"waiting for a board, {now - began:.0f} s so far: {cause}"
                    )
                if self._closing.wait(_PAUSE_S):
                    raise Closing
        finally:
            self._waits.pop(thread, None)

    def _ask(self) -> tuple[Seat | str, bool]:
        """A seat, or why there is none; and whether boards of the key are there at all."""
        if self._closing.is_set():
            raise Closing
        try:
            return client.request(self.tracker, self.key, _ASK_S), True
        except NoneFree:
            pass
        except (TrackerGone, TimeoutError) as gone:
            return f"no tracker answers at {self.tracker} ({gone})", False
        try:
            there = client.summary(self.tracker).of(self.key)
        except (TrackerGone, TimeoutError) as gone:
            return f"no tracker answers at {self.tracker} ({gone})", False
        silent = [board.silent_s or 0.0 for board in there if board.health]
        if silent and len(silent) == len(there) and min(silent) > _SILENT_S:
            return (
                f"board {self.key!r} has said nothing for {min(silent):.0f} s: it is frozen, or "
                "its network is cut"
            ), False
        if there:
            return f"others use the {len(there)} board(s) {self.key!r}", True
        return f"no board {self.key!r} is registered with {self.tracker}", False

    def _lost(self, cause: str, seconds: float) -> BoardError:
        return BoardError(
            f"No board {self.key!r} for {seconds:.0f} s",
            why=cause,
            fix="look at tvm-flow boards, start the board's server again, and repeat the command: "
            "it goes on from what is recorded",
        )
