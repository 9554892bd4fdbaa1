"""``HOST:PORT``, as every verb that meets a tracker takes it."""

from __future__ import annotations

import re
from typing import NamedTuple

from tvm_flow.support.errors import UsageError

DEFAULT_PORT = 9190
DEFAULT_TRACKER = f"127.0.0.1:{DEFAULT_PORT}"


class Address(NamedTuple):
    """Host name or number (an IPv6 one without brackets), and TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine itself can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    @property
    def is_wildcard(self) -> bool:
        """Whether it means every address of a machine: good to listen on, not to connect to."""
        return self.host in ("0.0.0.0", "::")


def parse_address(text: str, option: str = "--tracker") -> Address:
    """Raises :class:`UsageError` unless ``text`` is ``HOST:PORT`` or ``[IPV6]:PORT``."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^\s:\[\]]+)):(\d{1,5})", text)
    if found is None or not 1 <= int(found[3]) <= 65535:
        colons = text.count(":") > 1 and "[" not in text
        raise UsageError(
            f"{text!r} is not HOST:PORT",
            why="an IPv6 address has colons of its own" if colons else "",
            fix=f"write it in brackets, {option} [::1]:{DEFAULT_PORT}"
            if colons
            else f"write {option} {DEFAULT_TRACKER}",
        )
    return Address(found[1] or found[2], int(found[3]))


def parse_host(text: str) -> str:
    """A host to listen on; an IPv6 address may be in brackets."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text
