"""Random weights that behave like trained ones: reproducible, well scaled, nothing trivial.

A fresh PyTorch network has batch norms that are the identity, so a compiler could lose one and
no test would notice. Here every scale, shift, mean and variance is its own number; and the
statistics are those of real activations, so that signals neither vanish nor explode however deep
the network, and outputs depend on the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Net = TypeVar("Net", bound=nn.Module)


def materialise(build: Callable[[], Net], seed: int) -> Net:
    """Build a network with random weights from ``seed``, in eval mode, on the CPU, in fp32.

    The same seed gives the same bits, and the global random state is neither read nor changed.
    The network must take (N, C, 224, 224), with C the input channels of its first convolution.
    """
    with torch.device("meta"):  # no default initialisation: it would draw from the global state
        model = build()
    model.to_empty(device="cpu")
    generator = torch.Generator(device="cpu").manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            _draw(module, generator)
        _calibrate(model, generator)
    return model.eval()


def _draw(module: nn.Module, generator: torch.Generator) -> None:
    """Fill the parameters of one layer; variances as in arXiv 1502.01852."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
        fan_in = module.weight[0].numel()
        module.weight.normal_(0.0, (gain / fan_in) ** 0.5, generator=generator)
        if module.bias is not None:
            module.bias.normal_(0.0, 0.1, generator=generator)
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_running_stats()
        module.weight.uniform_(0.5, 1.5, generator=generator)
        module.bias.normal_(0.0, 0.2, generator=generator)


def _calibrate(model: nn.Module, generator: torch.Generator) -> None:
    """Set running statistics to those of a batch of random images with coarse and fine detail.

    Computed in fp64 and rounded to 8 significant bits, so that neither the number of threads nor
    the CPU shows in the result.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.double().eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # the statistics of this one batch, not a running average
    model(_images(_input_channels(model), generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                statistic.copy_(statistic.bfloat16())
    model.float()


def _images(channels: int, generator: torch.Generator) -> Tensor:
    """(2, channels, 224, 224) in fp64: blobs of 56 pixels plus noise, variance near 1.

    The size is the usual one on purpose. On small images most taps of the last layers fall on
    padding, and statistics taken there make a full-size image explode.
    """
    coarse = torch.randn(2, channels, 4, 4, generator=generator, dtype=torch.float64)
    fine = torch.randn(2, channels, 224, 224, generator=generator, dtype=torch.float64)
    return F.interpolate(coarse, size=(224, 224), mode="bilinear") + 0.7 * fine


def _input_channels(model: nn.Module) -> int:
    return next(m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
