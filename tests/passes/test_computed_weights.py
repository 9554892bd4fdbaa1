"""Weights that a model computes from its parameters are computed once: a plain layer is left."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from tests.passes.networks import operators
from tests.verify.networks import verified

IMAGE = (2, 12, 5, 7)


class Standardised(nn.Conv2d):
    """Weight standardisation, written out."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        deviation = self.weight.std((1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / (deviation + 1e-5)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class BatchStandardised(nn.Conv2d):
    """The same by a batch norm of the weight, as others write it."""

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        flat = F.batch_norm(flat, None, None, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, flat.reshape_as(self.weight), self.bias, self.stride, self.padding)


class Doubled(nn.Module):
    """A parametrisation of one's own."""

    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight.softmax(1)


def conv() -> nn.Conv2d:
    return nn.Conv2d(12, 10, 3, padding=1)


def custom() -> nn.Module:
    module = conv()
    parametrize.register_parametrization(module, "weight", Doubled())
    return module


MODULES = {
    "weight_norm": (lambda: parametrizations.weight_norm(conv()), IMAGE),
    "old_weight_norm": (lambda: nn.utils.weight_norm(conv()), IMAGE),
    "weight_norm_of_lines": (lambda: parametrizations.weight_norm(nn.Conv1d(12, 10, 3)), IMAGE[:3]),
    "weight_norm_of_linear": (lambda: parametrizations.weight_norm(nn.Linear(7, 4)), IMAGE),
    "spectral_norm": (lambda: parametrizations.spectral_norm(conv()), IMAGE),
    "old_spectral_norm": (lambda: nn.utils.spectral_norm(conv()), IMAGE),
    "transposed": (
        lambda: parametrizations.weight_norm(nn.ConvTranspose2d(12, 10, 4, 2, 1), dim=1),
        IMAGE,
    ),
    "standardised": (lambda: Standardised(12, 10, 3, padding=1), IMAGE),
    "standardised_by_batch_norm": (lambda: BatchStandardised(12, 10, 3, padding=1), IMAGE),
    "custom": (custom, IMAGE),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_plain_layer_is_left(name: str) -> None:
    make, shape = MODULES[name]
    torch.manual_seed(0)
    graph = verified(make().eval(), shape).graph
    left = operators(graph)
    assert left.keys() <= {"permute", "conv2d", "conv_transpose"}, graph.text()
    assert left.get("conv2d", 0) + left.get("conv_transpose", 0) == 1
