"""1x1, depthwise, 1x1 as one operator, as on a board whose cache holds none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, copies, operators
from tvm_flow.models.mobilenet_v2 import InvertedResidual
from tvm_flow.models.shufflenet import ShuffleUnit

C, HIDDEN = 10, 33


@pytest.mark.parametrize(
    ("block", "channels", "shape"),
    [
        (InvertedResidual(20, 20, 1, 6), 20, (1, 7, 9)),
        (InvertedResidual(10, 22, 2, 3), 10, (3, 8, 7)),
        (ShuffleUnit(116, 116, 1), 116, (1, 7, 7)),
        (ShuffleUnit(20, 58, 2), 20, (3, 9, 6)),
    ],
    ids=["residual", "stride", "shuffle", "shuffle_stride"],
)
def test_blocks_of_the_zoo(block: nn.Module, channels: int, shape: tuple[int, int, int]) -> None:
    n, h, w = shape
    module = Snippet(lambda m, x: m.block(x), block=block)
    graph = check(module, (n, channels, h, w), "NHWC", cache_bytes=0)
    assert operators(graph)["mbconv"] == 1
    assert copies(graph) == []


def test_kernel_of_five_and_every_activation() -> None:
    module = Snippet(
        lambda m, x: torch.relu(m.down(nn.functional.silu(m.dw(nn.functional.gelu(m.up(x))))) + x),
        up=nn.Conv2d(C, HIDDEN, 1), dw=nn.Conv2d(HIDDEN, HIDDEN, 5, 1, 2, groups=HIDDEN),
        down=nn.Conv2d(HIDDEN, C, 1),
    )  # fmt: skip
    assert operators(check(module, (1, C, 7, 6), "NHWC", cache_bytes=0)) == {"mbconv": 1}


def hidden_used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    hidden = torch.relu(m.up(x))
    return m.down(m.dw(hidden)), hidden


def depthwise_used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    middle = m.dw(m.up(x))
    return m.down(middle), middle


def residual_around_the_depthwise(m: Any, x: Tensor) -> Tensor:
    hidden = m.up(x)
    return m.down(m.dw(hidden) + hidden)


def part_of_the_depthwise(m: Any, x: Tensor) -> Tensor:
    return m.part(m.dw(m.up(x))[:, 3:])


def depthwise_of_a_part(m: Any, x: Tensor) -> Tensor:
    return m.last(m.small(m.up(x)[:, : C + 2]))


def residual_before_the_depthwise(m: Any, x: Tensor) -> Tensor:
    return m.down(m.dw(m.up(x) + m.up(x * 2)))


@pytest.mark.parametrize(
    "body",
    [hidden_used_twice, depthwise_used_twice, residual_around_the_depthwise,
     part_of_the_depthwise, depthwise_of_a_part, residual_before_the_depthwise],
    ids=lambda body: body.__name__,
)  # fmt: skip
def test_what_must_stay_apart(body: Callable[[Any, Tensor], Any]) -> None:
    module = Snippet(
        body,
        up=nn.Conv2d(C, HIDDEN, 1), down=nn.Conv2d(HIDDEN, C, 1),
        dw=nn.Conv2d(HIDDEN, HIDDEN, 3, 1, 1, groups=HIDDEN),
        small=nn.Conv2d(C + 2, C + 2, 3, 1, 1, groups=C + 2), last=nn.Conv2d(C + 2, C, 1),
        part=nn.Conv2d(HIDDEN - 3, C, 1),
    )  # fmt: skip
    check(module, (1, C, 7, 5), "NHWC", cache_bytes=0)


@pytest.mark.parametrize(
    "depthwise",
    [
        nn.Conv2d(HIDDEN, HIDDEN, (3, 5), 1, (1, 2), groups=HIDDEN),
        nn.Conv2d(HIDDEN, HIDDEN, 3, groups=HIDDEN),
        nn.Conv2d(HIDDEN, HIDDEN, 3, (2, 1), 1, groups=HIDDEN),
        nn.Conv2d(HIDDEN, HIDDEN, 1, 2, groups=HIDDEN),
        nn.Conv2d(HIDDEN, HIDDEN, 2, 2, groups=HIDDEN),
        nn.Conv2d(HIDDEN, HIDDEN, 3, 1, 2, dilation=2, groups=HIDDEN),
    ],
    ids=["oblong", "unpadded", "stride", "one", "even", "dilated"],
)
def test_other_windows(depthwise: nn.Module) -> None:
    module = Snippet(
        lambda m, x: m.down(m.dw(m.up(x))),
        up=nn.Conv2d(C, HIDDEN, 1), down=nn.Conv2d(HIDDEN, C, 1), dw=depthwise,
    )  # fmt: skip
    check(module, (1, C, 7, 6), "NHWC", cache_bytes=0)
