"""PyTorch modules to compare bundles with, importable by worker processes."""

from __future__ import annotations

import torch
from torch import nn

from tests.bundle import arrays


class Tiny(nn.Module):
    """What :func:`tests.bundle.networks.lowered` computes, with a batch norm that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, arrays.CHANNELS, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(arrays.CHANNELS, eps=1e-7)
        self.conv.weight.data = torch.from_numpy(arrays.weight())
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.bn(self.conv(x)).relu().mean((2, 3))
        return y


class Untraceable(Tiny):
    """The same, with a branch on a value, which torch.fx cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.abs().sum() >= 0 else -x)


class TwoHeads(Tiny):
    """The same with a second output, the feature map; ``scale`` changes only that one."""

    example_input_shape = arrays.SHAPE

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        y = self.bn(self.conv(x)).relu()
        return y.mean((2, 3)), self.scale * y
