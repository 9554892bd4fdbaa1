"""What goes into the small network of the tests of bundles, and comes out: NumPy only, so that
processes which only need PyTorch do not import TVM for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SHAPE, CHANNELS = (1, 3, 16, 16), 8


def weight() -> Array:
    return np.random.default_rng(1).standard_normal((CHANNELS, 3, 3, 3), np.float32)


def sample() -> Array:
    return np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def reference(x: Array) -> Array:
    """mean(relu(conv3x3(x))) over the pixels, shape (1, CHANNELS)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("nchwij,ocij->nohw", windows, weight())
    return np.maximum(conv, 0).mean((2, 3), dtype=np.float32)
