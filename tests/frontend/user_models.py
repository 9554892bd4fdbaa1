"""A user's model file: modules for the tests, and the factories ``--model file.py:name`` calls."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

NOT_A_FUNCTION = 3


@dataclass
class Options:
    """Looks its module up in ``sys.modules`` when it is defined."""

    width: int = 4


class Small(nn.Module):
    """(N, 3, H, W) -> (N, 4, H, W)."""

    example_input_shape = (2, 3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, Options().width, 3, padding=1), nn.BatchNorm2d(4))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.body(x).relu())


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Returns(nn.Module):
    """Returns whatever ``make`` makes of the input."""

    def __init__(self, make: object) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> object:
        return self.make(x)  # type: ignore[operator]


def small() -> nn.Module:
    return Small()


def wants_arguments(width: int) -> nn.Module:
    return nn.Conv2d(3, width, 1)


def raises() -> nn.Module:
    missing: dict[str, int] = {}
    return nn.Conv2d(3, missing["width"], 1)


def raises_in_torch() -> nn.Module:
    return nn.Conv2d(3, 5, 1, groups=2)


def exits() -> nn.Module:
    raise SystemExit(2)


def returns_text() -> str:
    return "a model"


def returns_text_inside() -> nn.Module:
    return Returns(lambda x: (x, [{"label": "a cat"}]))


def returns_complex() -> nn.Module:
    return Returns(lambda x: x.to(torch.complex64))


def returns_nothing() -> nn.Module:
    return Returns(lambda x: ())


def two_inputs() -> nn.Module:
    return TwoInputs()


def double() -> nn.Module:
    return nn.Conv2d(3, 4, 1).double()


def not_finite() -> nn.Module:
    model = Small()
    with torch.no_grad():
        model.body[0].weight[0, 0, 0, :2] = torch.tensor([torch.nan, torch.inf])
    return model


def on_meta() -> nn.Module:
    return nn.Conv2d(3, 4, 1, device="meta")


def lazy() -> nn.Module:
    return nn.LazyConv2d(4, 1)


instance = Small()
