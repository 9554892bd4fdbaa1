"""Inputs beside a network's sample that find what one random input does not."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_flow.frontend.inputs import Array, sample_of
from tvm_flow.frontend.model import LoadedModel

#: Of the references together: those of a large network, or of a slow evaluator, are fewer.
BUDGET_S = 1.5
_SEED = 1


@dataclass(frozen=True)
class Sample:
    """Inputs as the model takes them, and the reference outputs."""

    name: str
    inputs: list[Array]
    expected: list[Array]


def more_samples(loaded: LoadedModel) -> list[Sample]:
    """Samples for which the reference is finite; none for a network with a domain of its own: one
    that takes whole numbers, or whose user gave a sample."""
    usual = sample_of(loaded.inputs, None)
    if loaded.own_sample or any(array.dtype.kind != "f" for array in usual):
        return []
    found, start = [], time.perf_counter()
    for name, inputs in _inputs(usual):
        if time.perf_counter() - start > BUDGET_S:
            break
        with np.errstate(all="ignore"):
            expected = loaded.run(*inputs)
        if all(np.isfinite(output).all() for output in expected):
            found.append(Sample(name, inputs, expected))
    return found


def _inputs(usual: Sequence[Array]) -> Iterator[tuple[str, list[Array]]]:
    """What is worth most comes first."""
    rng = np.random.default_rng(_SEED)
    random = [np.asarray(rng.standard_normal(array.shape), array.dtype) for array in usual]
    yield "a large mean", [array.dtype.type(100) + array / 10 for array in random]
    yield "zeros", [np.zeros_like(array) for array in random]
    yield "large numbers", [array * array.dtype.type(1e4) for array in random]
    yield "another random one", random
    yield "ones", [np.ones_like(array) for array in random]
    yield "tiny numbers", [array * array.dtype.type(1e-39) for array in random]
