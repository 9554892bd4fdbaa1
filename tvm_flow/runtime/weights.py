"""A bundle's weights: one file, read into huge pages, and handed to the network once."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.manifest import REWRITE, Manifest, Place
from tvm_flow.support.errors import BundleError

NAME = "weights.bin"
HUGE_PAGE = 1 << 21


def read_weights(directory: Place, manifest: Manifest) -> list[NDArray[Any]]:
    """The weights as views of one block, in the order of ``main``'s last parameters.

    A network streams through all of its weights in every run, and hardware prefetchers stop at the
    end of a page: hence huge pages, not a mapped file (decision 0005).
    Raises :class:`BundleError` for a file that ends early.
    """
    tensors = manifest.weights
    if not tensors:
        return []
    path = os.path.join(directory, NAME)
    block = huge_block(os.path.getsize(path))
    with open(path, "rb") as file:
        if file.readinto(block.data) != len(block):
            raise BundleError(f"{path} ends early", fix=REWRITE)
    return [
        np.frombuffer(
            block, tensor.dtype, count=int(np.prod(tensor.shape)), offset=tensor.offset
        ).reshape(tensor.shape)
        for tensor in tensors
    ]


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
