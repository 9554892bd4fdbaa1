"""What a shared library or a program asks of the machine it is loaded on, read from its ELF file.

Its header is read by :mod:`tvm_flow.support.elf_header`, which every bundle carries.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from tvm_flow.support.elf_header import HEADER_BYTES, NotElf, arch_name, machine_in, machine_of

# ELF specification and the GNU symbol versioning supplement
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NULL, _DT_STRTAB, _DT_VERNEED, _DT_VERNEEDNUM = 0, 5, 0x6FFFFFFE, 0x6FFFFFFF
_PROGRAM_HEADER_BYTES = 56


@dataclass(frozen=True)
class _Image:
    """The bytes of a file with its loaded segments: (address, file offset, size)."""

    data: bytes
    segments: tuple[tuple[int, int, int], ...]

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.data, offset)

    def offset_of(self, address: int) -> int:
        for start, offset, size in self.segments:
            if start <= address < start + size:
                return offset + address - start
        raise NotElf("an address outside of its segments")

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(b"\0", offset)].decode("ascii")


def elf_arch(path: str | PathLike[str]) -> str:
    """Of an ELF file: ``x86_64``, ``aarch64``, ``ELF machine N``; else ``not an ELF file``."""
    try:
        return arch_name(machine_of(path))
    except NotElf:
        return "not an ELF file"


def needed_versions(path: str | PathLike[str]) -> dict[str, frozenset[str]]:
    """Library -> versions of its symbols that a file needs: ``{"libc.so.6": {"GLIBC_2.17"}}``.

    Raises :class:`NotElf`, and ``OSError`` where the file cannot be read.
    """
    try:
        return _needed_versions(Path(path).read_bytes())
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise NotElf(f"{path} is not a readable ELF file: {error}") from error


def needed_glibc(path: str | PathLike[str]) -> str | None:
    """The oldest glibc a file loads with (``"2.27"``), ``None`` where it needs no version of it.

    Raises as :func:`needed_versions`.
    """
    names = frozenset[str]().union(*needed_versions(path).values())
    versions = [name.removeprefix("GLIBC_") for name in names if name.startswith("GLIBC_2.")]
    return max(versions, key=version_key, default=None)


def version_key(version: str) -> tuple[int, ...]:
    """``"2.27"`` as something that compares by number."""
    return tuple(int(part) for part in version.split("."))


def _needed_versions(data: bytes) -> dict[str, frozenset[str]]:
    image, dynamic = _load(data)
    count = dynamic.get(_DT_VERNEEDNUM, 0)
    if not count:
        return {}
    strings = image.offset_of(dynamic[_DT_STRTAB])
    found: dict[str, frozenset[str]] = {}
    offset = image.offset_of(dynamic[_DT_VERNEED])
    for _ in range(count):
        _, auxiliaries, file, first, step = image.unpack("HHIII", offset)
        versions, entry = set(), offset + first
        for _ in range(auxiliaries):
            _, _, _, name, following = image.unpack("IHHII", entry)
            versions.add(image.text(strings + name))
            entry += following
        found[image.text(strings + file)] = frozenset(versions)
        offset += step
    return found


def _load(data: bytes) -> tuple[_Image, dict[int, int]]:
    """The file with its segments, and its dynamic section as tag -> value."""
    machine_in(data[:HEADER_BYTES])
    (table,) = struct.unpack_from("<Q", data, 32)
    (count,) = struct.unpack_from("<H", data, 56)
    segments, dynamic_at = [], None
    for index in range(count):
        at = table + index * _PROGRAM_HEADER_BYTES
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, at)
        if kind == _PT_LOAD:
            segments.append((address, offset, size))
        elif kind == _PT_DYNAMIC:
            dynamic_at = offset
    image = _Image(data, tuple(segments))
    dynamic: dict[int, int] = {}
    while dynamic_at is not None:
        tag, value = image.unpack("QQ", dynamic_at)
        if tag == _DT_NULL:
            break
        dynamic[tag] = value
        dynamic_at += 16
    return image, dynamic
