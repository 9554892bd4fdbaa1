"""The sweep of single layers: what it says of itself holds."""

from __future__ import annotations

import pytest
import torch

from benchmarks.cliff import FEWEST_MACS
from benchmarks.layers import KINDS, Layer
from tvm_flow.models.stats import count_macs

LAYERS = {f"{kind}: {layer.name}": layer for kind, make in KINDS.items() for layer in make()}


def test_names_are_unique() -> None:
    assert len(LAYERS) == sum(len(list(make())) for make in KINDS.values())


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_layers_are_worth_a_kernel_and_the_same_each_time(layer: Layer) -> None:
    module = layer.module()
    assert count_macs(module, layer.shape) >= FEWEST_MACS
    assert module.example_input_shape == layer.shape
    for one, other in zip(module.parameters(), layer.module().parameters(), strict=True):
        assert torch.equal(one, other)
