"""Messages between the tuner and its workers: JSON with a length in front, over a pipe."""

from __future__ import annotations

import json
import os
import select
import struct
import time
from typing import Any

Message = dict[str, Any]
_LENGTH = struct.Struct("<I")


class Closed(Exception):
    """The other side is gone."""


class Expired(Exception):
    """Nothing (or not all of it) came before the deadline."""


def send(fd: int, message: Message) -> None:
    """Write one message whole. Raises :class:`Closed`."""
    body = json.dumps(message).encode()
    data = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        while data:
            data = data[os.write(fd, data) :]
    except (BrokenPipeError, OSError) as error:
        raise Closed from error


def receive(fd: int, timeout_s: float | None = None) -> Message:
    """Read one message. Raises :class:`Closed` or, after ``timeout_s``, :class:`Expired`."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    (length,) = _LENGTH.unpack(_read(fd, _LENGTH.size, deadline))
    message = json.loads(_read(fd, length, deadline))
    assert isinstance(message, dict)
    return message


def _read(fd: int, count: int, deadline: float | None) -> bytes:
    data = b""
    while len(data) < count:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([fd], [], [], left)[0]:
            raise Expired
        try:
            chunk = os.read(fd, count - len(data))
        except OSError as error:
            raise Closed from error
        if not chunk:
            raise Closed
        data += chunk
    return data
