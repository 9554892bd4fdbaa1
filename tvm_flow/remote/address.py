"""``HOST:PORT``, as every verb that meets a tracker takes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from tvm_flow.errors import UsageError

DEFAULT_PORT = 9190
DEFAULT_TRACKER = f"127.0.0.1:{DEFAULT_PORT}"


class Address(NamedTuple):
    """Host name or number, and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_address(text: str, option: str = "--tracker") -> Address:
    """Raises :class:`UsageError` unless ``text`` is ``HOST:PORT``."""
    found = re.fullmatch(r"(\S+):(\d{1,5})", text)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise UsageError(f"{text!r} is not HOST:PORT", fix=f"write {option} {DEFAULT_TRACKER}")
    return Address(found[1], int(found[2]))
