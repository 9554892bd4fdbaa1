"""1x1 convolutions between two NCHW tensors change no layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, copies, operators

C = 10


@pytest.mark.parametrize("size", [(8, 12), (14, 14)], ids=["whole vectors", "a quarter one"])
@pytest.mark.parametrize("channels", [C, 232], ids=["read as it is", "read transposed"])
def test_with_activation_and_batch(channels: int, size: tuple[int, int]) -> None:
    module = nn.Sequential(nn.Conv2d(channels, 58, 1), nn.BatchNorm2d(58), nn.GELU())
    graph = check(module.eval(), (3, channels, *size))
    assert operators(graph) == {"pointwise_nchw": 1}
    assert copies(graph) == []


def used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    y = m.a(x)
    return y, m.dw(y)


def with_a_residual(m: Any, x: Tensor) -> Tensor:
    return m.a(x) + x


def inside(m: Any, x: Tensor) -> Tensor:
    return m.dw(m.a(m.dw(x)))


def of_a_slice(m: Any, x: Tensor) -> Tensor:
    return m.part(m.dw(x)[:, 3:7])


@pytest.mark.parametrize("forward", [used_twice, with_a_residual, inside, of_a_slice])
def test_what_stays_nhwc(forward: Callable[[Any, Tensor], Any]) -> None:
    module = Snippet(
        forward,
        a=nn.Conv2d(C, C, 1),
        dw=nn.Conv2d(C, C, 3, 1, 1, groups=C),
        part=nn.Conv2d(4, C, 1),
    )
    assert "pointwise_nchw" not in operators(check(module, (1, C, 8, 12)))


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(C, 20, 1), (4, 8)),
        (nn.Conv2d(C, 20, 1), (9, 13)),
        (nn.Conv2d(C, 20, 1), (5, 13)),
        (nn.Conv2d(C, 20, 1, stride=2), (16, 16)),
        (nn.Conv2d(C, 20, 1, padding=1), (8, 14)),
        (nn.Conv2d(C, 20, 1, groups=2), (8, 16)),
    ],
    ids=["few pixels", "odd rest", "much padding", "stride", "padding", "groups"],
)
def test_what_is_no_such_product(conv: nn.Module, size: tuple[int, int]) -> None:
    assert "pointwise_nchw" not in operators(check(conv, (1, C, *size)))


def test_between_others_that_are_nchw() -> None:
    module = nn.Sequential(nn.Conv2d(C, 20, 1), nn.ReLU(), nn.Flatten(2))
    x = torch.zeros(1, C, 8, 8)
    assert module(x).shape == (1, 20, 64)
    assert operators(check(module, (1, C, 8, 8)))["pointwise_nchw"] == 1
