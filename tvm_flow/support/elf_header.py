"""What a shared library or a program is made for, read from the header of its ELF file.

Only 64-bit little-endian files are read, which is what every board here runs.
"""

from __future__ import annotations

import struct
from os import PathLike

#: ``e_machine`` by the name that ``uname -m`` has for the architecture. ELF specification, and
#: https://www.sco.com/developers/gabi/latest/ch4.eheader.html
MACHINES = {"x86_64": 62, "aarch64": 183}
HEADER_BYTES = 64


class NotElf(ValueError):
    """Not a 64-bit little-endian ELF file, or one that is cut off."""


def machine_of(path: PathLike[str] | str) -> int:
    """``e_machine`` of a file. Raises :class:`NotElf`, and ``OSError`` where it cannot be read."""
    with open(path, "rb") as file:
        return machine_in(file.read(HEADER_BYTES))


def machine_in(header: bytes) -> int:
    """``e_machine`` of a file that begins with ``header``. Raises :class:`NotElf`."""
    if len(header) < HEADER_BYTES or header[:6] != b"\x7fELF\x02\x01":
        raise NotElf("no 64-bit little-endian ELF header")
    return int(struct.unpack_from("<H", header, 18)[0])


def arch_name(machine: int) -> str:
    """``x86_64``, ``aarch64``, or for others ``ELF machine N``."""
    names = {number: name for name, number in MACHINES.items()}
    return names.get(machine, f"ELF machine {machine}")
