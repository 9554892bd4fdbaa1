"""Pieces that more than one family of the zoo uses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Act = Callable[[], nn.Module]
Norm = Callable[[int], nn.Module]


def relu() -> nn.Module:
    """ReLU in place, as the published models use it: it saves a pass over memory in eager."""
    return nn.ReLU(inplace=True)


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    groups: int = 1,
    act: Act | None = None,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """Convolution without bias, padded to keep the size at stride 1, then norm, then ``act``.

    (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride)) for an odd kernel.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        norm(outputs),
    ]
    if act is not None:
        layers.append(act())
    return nn.Sequential(*layers)


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, drop a residual branch per sample.

    ``rate`` is the probability of dropping; what survives is scaled by 1 / (1 - rate), so that
    the expectation is kept and evaluation is the identity.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"
