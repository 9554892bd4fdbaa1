"""Asking a tracker: who is there, and for a board. Every wait has an end.

The protocol is that of ``tvm/rpc/tracker.py``: JSON with its length in front.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tvm_flow.remote.protocol import OpenRequest
from tvm_flow.support.address import Address
from tvm_flow.support.errors import BoardError

_MAGIC = 0x2F271
_REQUEST, _SUMMARY, _SUCCESS = 4, 6, 0
_LONGEST = 1 << 24
ANSWER_S = 5.0


class TrackerGone(Exception):
    """The tracker does not answer, or is none; the message says which."""


class NoneFree(Exception):
    """No board of that key became free in time."""


@dataclass(frozen=True)
class GrantedBoard:
    """A board that the tracker has granted: it waits for us. Where, and what to say there."""

    host: str
    port: int
    match_key: str

    @property
    def place(self) -> str:
        return str(Address(self.host, self.port))

    def opening(self, limit_s: float) -> OpenRequest:
        """What asks a board worker for a session of at most ``limit_s`` seconds there."""
        return OpenRequest(self.host, self.port, self.match_key, limit_s)


@dataclass(frozen=True)
class BoardInfo:
    """What the tracker knows of one board. ``health``: what our own server tells of itself, empty
    for TVM's stock server; ``silent_s``: seconds since its last word, ``None`` where the tracker
    does not say (TVM's own); ``busy``: ``None`` where the board does not say; ``client``:
    the address of who uses it, where it says."""

    key: str
    address: str
    name: str = ""
    emulated: bool = False
    busy: bool | None = None
    silent_s: float | None = None
    client: str = ""
    sessions: int | None = None
    crashes: int | None = None
    health: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """How to call it: its own name where it has one."""
        return self.name or self.address


@dataclass(frozen=True)
class Farm:
    """All boards, and per key how many are free and how many clients wait."""

    boards: tuple[BoardInfo, ...]
    free: dict[str, int]
    waiting: dict[str, int]

    def of(self, key: str) -> list[BoardInfo]:
        return [board for board in self.boards if board.key == key]


def summary(tracker: Address, timeout_s: float = ANSWER_S) -> Farm:
    """Who is there. Raises :class:`TrackerGone`."""
    deadline = time.monotonic() + timeout_s
    with _connect(tracker, deadline) as connection:
        _send(connection, [_SUMMARY])
        try:
            code, answer = _receive(connection, tracker, deadline)
        except TimeoutError:
            raise TrackerGone(f"it has said nothing for {timeout_s:.0f} s") from None
    if code != _SUCCESS:
        raise TrackerGone(f"{tracker} does not tell who is there")
    queues = answer["queue_info"]
    return Farm(
        tuple(_board(info) for info in answer["server_info"]),
        {key: int(queue["free"]) for key, queue in queues.items()},
        {key: int(queue["pending"]) for key, queue in queues.items()},
    )


def request(tracker: Address, key: str, timeout_s: float) -> GrantedBoard:
    """Wait for a free board. Raises :class:`TrackerGone`, or :class:`NoneFree` after ``timeout_s``
    seconds; the request is then withdrawn."""
    deadline = time.monotonic() + timeout_s
    with _connect(tracker, time.monotonic() + ANSWER_S) as connection:
        _send(connection, [_REQUEST, key, "", 1])
        try:
            code, place = _receive(connection, tracker, deadline)
        except TimeoutError:
            raise NoneFree(key) from None
    if code != _SUCCESS:
        raise TrackerGone(f"{tracker} gives no board")
    host, port, match_key = place
    return GrantedBoard(str(host), int(port), str(match_key))


def require_farm(tracker: Address) -> Farm:
    """As :func:`summary`, for a user: raises :class:`BoardError`."""
    try:
        return summary(tracker)
    except TrackerGone as gone:
        raise BoardError(
            f"No tracker at {tracker}",
            why=str(gone),
            fix="start one with tvm-flow tracker, or give its address with --tracker HOST:PORT",
        ) from gone


def registered(tracker: Address, key: str) -> list[BoardInfo]:
    """The boards of a key, at least one. Raises :class:`BoardError`."""
    farm = require_farm(tracker)
    there = farm.of(key)
    if not there:
        known = sorted({board.key for board in farm.boards})
        raise BoardError(
            f"No board {key!r} is registered with {tracker}",
            why=f"it knows {', '.join(known)}" if known else "it knows no board at all",
            fix=f"start the board's server with --key {key}, or name another with --key",
        )
    return there


def boards_of(tracker: Address, key: str, arch: str) -> list[BoardInfo]:
    """The boards of a key that are to be measured on, at least one of them of ``arch`` or silent
    about its own. Raises :class:`BoardError`, also where only some of them are emulated."""
    there = registered(tracker, key)
    foreign = foreign_boards(there, arch)
    if len(foreign) == len(there):
        raise BoardError(
            f"No board {key!r} is of the target's architecture",
            why="; ".join(f"{place}: {trouble}" for place, trouble in foreign.items()),
            fix="register it under another key, or choose the --target it is",
        )
    if len({board.emulated for board in there}) > 1:
        raise BoardError(
            f"Some boards {key!r} are emulated and some are not",
            why="their times must not be mixed",
            fix="end the emulated ones, or give them another --key",
        )
    return there


def foreign_boards(boards: Iterable[BoardInfo], arch: str) -> dict[str, str]:
    """Addresses of those that say they are not of ``arch``, and that in words."""
    told = {board.address: str(board.health.get("arch", "")) for board in boards}
    return {place: trouble for place, told_arch in told.items()
            if (trouble := wrong_arch(told_arch, arch))}  # fmt: skip


def wrong_arch(told: str, expected: str) -> str:
    """What is wrong with a board of architecture ``told``; an empty text where nothing is, or where
    it does not tell."""
    if told in ("", expected):
        return ""
    return f"wrong architecture: expected {expected}, the board says {told}"


def _board(info: dict[str, Any]) -> BoardInfo:
    host, port = info["addr"]
    return BoardInfo(
        key=str(info["key"]).partition(":")[2],
        address=str(Address(str(host), int(port))),
        name=str(info.get("name", "")),
        emulated=bool(info.get("emulated", False)),
        busy=info.get("busy"),
        client=info.get("client") or "",
        silent_s=info.get("silent_s"),
        sessions=info.get("sessions"),
        crashes=info.get("crashes"),
        health=info.get("health") or {},
    )


def _connect(tracker: Address, deadline: float) -> socket.socket:
    try:
        connection = socket.create_connection(tracker, max(0.1, deadline - time.monotonic()))
    except UnicodeError as error:  # of the name, before anybody is asked for it
        raise TrackerGone(f"{tracker.host} is not a host name") from error
    except OSError as error:
        raise TrackerGone(error.strerror or str(error)) from error
    try:
        connection.sendall(struct.pack("<i", _MAGIC))
        (magic,) = struct.unpack("<i", _read(connection, 4, deadline))
    except (OSError, TrackerGone) as error:
        connection.close()
        raise TrackerGone("something else listens there, or it hangs") from error
    if magic != _MAGIC:
        connection.close()
        raise TrackerGone("something else listens there")
    return connection


def _send(connection: socket.socket, message: Any) -> None:
    body = json.dumps(message).encode()
    try:
        connection.sendall(struct.pack("<i", len(body)) + body)
    except OSError as error:
        raise TrackerGone("it closed the connection") from error


def _receive(connection: socket.socket, tracker: Address, deadline: float) -> tuple[Any, Any]:
    """Code and content of an answer. Raises ``TimeoutError`` too."""
    (length,) = struct.unpack("<i", _read(connection, 4, deadline))
    if not 0 < length <= _LONGEST:
        raise TrackerGone(f"{tracker} is no tracker")
    try:
        code, content = json.loads(_read(connection, length, deadline))
    except (ValueError, TypeError) as error:
        raise TrackerGone(f"{tracker} is no tracker") from error
    return code, content


def _read(connection: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        try:
            chunk = connection.recv(count - len(data))
        except TimeoutError:
            raise
        except OSError as error:
            raise TrackerGone("it broke the connection") from error
        if not chunk:
            raise TrackerGone("it closed the connection")
        data += chunk
    return data
