"""PyTorch modules to compare bundles with, importable by worker processes."""

from __future__ import annotations

from typing import Any, NamedTuple

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


class Heads(NamedTuple):
    """What :class:`Everything` returns besides."""

    mask: torch.Tensor
    best: torch.Tensor


class Everything(nn.Module):
    """Inputs and outputs of every kind: a picture, token ids, a scalar passed by its name; a dict
    with a scalar, a list, a named tuple, nothing, double precision, a constant and an input."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)
        self.register_buffer("anchors", torch.arange(6.0).reshape(2, 3))
        self.eval()

    def forward(
        self, x: torch.Tensor, ids: torch.Tensor, unused: torch.Tensor | None = None, *,
        scale: torch.Tensor,
    ) -> dict[str, Any]:  # fmt: skip
        y = x.mul_(2) * scale + self.words(ids).sum(1)[:, :, None, None]
        return {
            "map": y,
            "total": y.sum(),
            "parts": [y.mean((2, 3)).double()],
            "heads": Heads(y > 0, y.argmax(1)),
            "nothing": unused,
            "anchors": self.anchors,
            "ids": ids,
        }


class OwnDomain(nn.Module):
    """A logarithm, of what only its own example is right for."""

    example_inputs = (torch.linspace(0.5, 2, 48).reshape(1, 3, 4, 4),)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.log()
