"""The sample that a bundle carries: inputs, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.api.networks import LoadedModel
from tvm_flow.support.errors import UsageError

Array = NDArray[Any]


def sample_for(loaded: LoadedModel) -> tuple[list[Array], list[Array]]:
    """Inputs, the user's or random ones that are the same for every compilation, and the reference
    outputs, as the model has them. Raises :class:`UsageError` for NaN and infinity: in any output
    of random inputs, and where nothing else comes of the user's."""
    sample, expected = list(loaded.sample), loaded.expected
    given = any(x.size for x in sample)
    finite = [np.isfinite(output) for output in expected if output.size and given]
    enough = any(f.any() for f in finite) if loaded.own_sample else all(f.all() for f in finite)
    if not enough and finite:
        raise UsageError(
            f"{loaded.name} gives NaN or infinity for its sample",
            why="its weights may be broken, or the sample is not what it was trained on",
            fix="check the weights with PyTorch, or pass inputs of its own domain with "
            "--sample FILE",
        )
    return sample, expected


def bordered(arrays: Sequence[Array], layout: str) -> list[Array]:
    """Inputs or outputs of the model as those of a bundle with this ``layout`` at its border."""
    return [_nhwc(array) if layout == "NHWC" else array for array in arrays]


def _nhwc(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array
