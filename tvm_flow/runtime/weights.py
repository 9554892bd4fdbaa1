"""A bundle's weights: one file, mapped into memory, and handed to the network once."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.manifest import Manifest

NAME = "weights.bin"


def map_weights(directory: Path, manifest: Manifest) -> list[NDArray[Any]]:
    """The weights as views of the mapped file, in the order of ``main``'s last parameters.

    The file's pages are shared with every other process that runs this bundle, and read now, not
    in the first run.
    """
    tensors = manifest.weights
    if not tensors:
        return []
    with (directory / NAME).open("rb") as file:
        # private and writable: DLPack takes no read-only memory; nobody writes there
        mapped = mmap.mmap(
            file.fileno(), 0, flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
        )  # fmt: skip
    return [
        np.frombuffer(
            mapped, tensor.dtype, count=int(np.prod(tensor.shape)), offset=tensor.offset
        ).reshape(tensor.shape)
        for tensor in tensors
    ]
