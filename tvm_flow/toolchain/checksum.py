"""The checksums in plans, computed by the library that checks them."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

from tvm_flow.toolchain.runtime_library import SHARED, runtime_library

_LIBC = "2.27"  # any that this machine has


def checksum(content: bytes) -> int:
    """XXH64 with seed 0. Raises :class:`EnvironmentFault` and :class:`CompileError` where the
    library cannot be built."""
    return int(_function()(content, len(content)))


@cache
def _function() -> Any:
    library = ctypes.CDLL(str(runtime_library(platform.machine(), _LIBC) / SHARED))
    function = library.tvmf_checksum
    function.restype, function.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]
    return function
