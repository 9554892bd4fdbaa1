"""Memory in huge pages, as the weights of a bundle lie in (decision 0005)."""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 1 << 21


def huge_block(size: int) -> NDArray[np.uint8]:
    """``size`` bytes at the start of a huge page, where the system has those.

    What does not fill a huge page is left in small ones: it would take up to 2 MiB more.
    """
    memory = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    everything = np.frombuffer(memory, np.uint8)
    start = -everything.ctypes.data % HUGE_PAGE
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE, start, size - size % HUGE_PAGE)
    return everything[start : start + size]
