"""What a user might point ``--model`` at. Loaded by path, so it imports nothing from beside it."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """A few layers: quick to compile. (N, 3, 16, 16) -> (N, 10)."""

    example_input_shape = (1, 3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 20, 3, 2, 1), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 36, 1)
        )
        self.head = nn.Linear(36, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Dynamic(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[x.sum((1, 2, 3)) > 0])


def net() -> nn.Module:
    return Net()


def dynamic() -> nn.Module:
    return Dynamic()


def raises() -> nn.Module:
    raise ValueError("the weights are elsewhere")


def broken_weights() -> nn.Module:
    model = Net()
    with torch.no_grad():
        model.head.weight[0, 0] = float("nan")
    return model


class Tokens(nn.Module):
    """Token ids and a mask -> a dict of scores and the best of them."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = (self.words(ids) * mask[..., None]).sum(1)
        return {"scores": scores, "best": scores.argmax(-1)}


def tokens() -> nn.Module:
    return Tokens()


def noisy() -> nn.Module:
    return nn.Sequential(Net(), Noise())


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(x, 0.5)
