"""How long a cache line takes between the cores of a timing, and whether that stayed the same.

Threads that share a loop wait for such lines, so that two cores without a common cache can be
hardly faster than one at a network of short loops. The numbers of the cores do not tell: a
hypervisor may move them apart while a program runs.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from functools import cache

from tvm_flow.support import machine
from tvm_flow.support.errors import CompileError
from tvm_flow.support.resources import package_file
from tvm_flow.support.user_folders import cache_root
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.linker import has_zig, zig_version

_GLIBC = "2.27"  # as old as any that is compiled for; the source needs nothing newer
#: More than cores on one L3 vary by, far less than to those on another (decision 0012).
MAX_SPREAD = 2.0


def cache_line_ns(cores: Sequence[int]) -> float | None:
    """Nanoseconds that a cache line takes one way, between the first of ``cores`` and that of the
    others that is farthest from it: cores that are not all near each other show in that one.

    A few milliseconds per core. ``None`` for a single core, without a C compiler (the wheel
    ziglang), and where other load left no time for it.
    """
    library = _library() if len(cores) > 1 else None
    if library is None:
        return None
    found = [library.tvm_flow_cache_line_ns(cores[0], other) for other in cores[1:]]
    return max(found) if min(found) > 0 else None


def spread_complaint(values_ns: Sequence[float]) -> str | None:
    """A sentence where the values of one measurement differ too much for one place."""
    if not values_ns or max(values_ns) <= MAX_SPREAD * min(values_ns):
        return None
    return (
        "the cores were moved apart or together during the run: a cache line between them took "
        f"{min(values_ns):.0f} to {max(values_ns):.0f} ns"
    )


@cache
def _library() -> ctypes.CDLL | None:
    """Compiled once per machine. A comparison does not fail for want of it."""
    arch = machine.arch()
    source = package_file("measure", "core_distance.c")
    digest = hashlib.sha256(f"{zig_version()} {_GLIBC}".encode() + source.read_bytes()).hexdigest()
    path = cache_root() / f"core-distance-{arch}-{digest[:16]}.so"
    try:
        if not path.exists():
            if not has_zig():
                return None
            link_library([source], path, arch=arch, libc=_GLIBC, exports="tvm_flow_*")
        library = ctypes.CDLL(str(path))
    except (CompileError, OSError):
        return None
    library.tvm_flow_cache_line_ns.argtypes = [ctypes.c_int, ctypes.c_int]
    library.tvm_flow_cache_line_ns.restype = ctypes.c_double
    return library
