"""Hardware counters of the calling thread through Linux's ``perf_event_open``, where it may read
them: many virtual machines have none, and containers often forbid the call."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl

_SYSCALLS = {"x86_64": 298, "aarch64": 241}
_CLOSE_ON_EXEC = 8
_ENABLE, _DISABLE = 0x2400, 0x2401
_HARDWARE, _SOFTWARE = 0, 1
#: linux/perf_event.h: name -> (type, config)
EVENTS = {
    "cycles": (_HARDWARE, 0),
    "instructions": (_HARDWARE, 1),
    "cache_references": (_HARDWARE, 2),
    "cache_misses": (_HARDWARE, 3),
    "branch_misses": (_HARDWARE, 5),
    "page_faults": (_SOFTWARE, 2),
    "context_switches": (_SOFTWARE, 3),
    "cpu_migrations": (_SOFTWARE, 4),
}
_TIMES = 1 | 2  # read how long it was wanted and how long it counted: there are few counters
_DISABLED, _NO_KERNEL, _NO_HYPERVISOR = 1 << 0, 1 << 5, 1 << 6


class _Attributes(ctypes.Structure):
    """The first version of ``struct perf_event_attr``, which every kernel takes."""

    _fields_ = (
        ("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64), ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64), ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32), ("bp_type", ctypes.c_uint32),
        ("config1", ctypes.c_uint64),
    )  # fmt: skip


@dataclass
class Counts:
    """Events by name of :data:`EVENTS`; what cannot be counted here is missing."""

    values: dict[str, float] = field(default_factory=dict)


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what the calling thread does within, in user space; :attr:`Counts.values` is filled
    when it ends. Never raises for want of counters."""
    counts = Counts()
    opened = {name: fd for name in EVENTS if (fd := _open(*EVENTS[name])) >= 0}
    try:
        for fd in opened.values():
            ioctl(fd, _ENABLE, 0)
        yield counts
        for fd in opened.values():
            ioctl(fd, _DISABLE, 0)
        found = {name: _read(fd) for name, fd in opened.items()}
        counts.values.update({name: value for name, value in found.items() if value is not None})
    finally:
        for fd in opened.values():
            os.close(fd)


def _open(kind: int, config: int) -> int:
    """A file descriptor, or -1."""
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return -1
    # a context switch happens in the kernel: a software event without it would be none
    flags = _DISABLED | _NO_HYPERVISOR | (_NO_KERNEL if kind == _HARDWARE else 0)
    for tried in dict.fromkeys((flags, flags | _NO_KERNEL)):
        attributes = _Attributes(
            type=kind, size=ctypes.sizeof(_Attributes), config=config, read_format=_TIMES,
            flags=tried,
        )  # fmt: skip
        fd = int(_libc().syscall(number, ctypes.byref(attributes), 0, -1, -1, _CLOSE_ON_EXEC))
        if fd >= 0:
            return fd
    return -1


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _read(fd: int) -> float | None:
    """The count, scaled up where it shared a counter with others; ``None`` if it had none."""
    value, wanted, counted_for = struct.unpack("QQQ", os.read(fd, 24))
    return float(value) * wanted / counted_for if counted_for else None
