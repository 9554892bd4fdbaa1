"""Split, concat and channel shuffle leave no copy where ShuffleNet uses them, and stay right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, copies, operators
from tvm_flow.models.shufflenet import ShuffleUnit, channel_shuffle


@pytest.mark.parametrize("shape", [(1, 116, 7, 7), (3, 20, 5, 9)])
def test_unit_with_stride_one(shape: tuple[int, ...]) -> None:
    c = shape[1]
    module = Snippet(lambda m, x: m.units(x), units=nn.Sequential(
        ShuffleUnit(c, c, 1), ShuffleUnit(c, c, 1)))  # fmt: skip
    assert copies(check(module, shape, "NHWC")) == []


@pytest.mark.parametrize(("inputs", "outputs", "size"), [(24, 116, 9), (20, 40, 7), (10, 20, 8)])
def test_unit_with_stride_two(inputs: int, outputs: int, size: int) -> None:
    module = Snippet(lambda m, x: m.unit(x), unit=ShuffleUnit(inputs, outputs, 2))
    assert copies(check(module, (1, inputs, size, size), "NHWC")) == []


def test_units_of_both_kinds_in_a_network() -> None:
    module = Snippet(
        lambda m, x: m.units(m.stem(x)).mean((2, 3)),
        stem=nn.Conv2d(3, 24, 3, 2, 1),
        units=nn.Sequential(ShuffleUnit(24, 58, 2), ShuffleUnit(58, 58, 1)),
    )
    assert copies(check(module, (1, 3, 17, 15))) == []


def other_shuffles(x: Tensor) -> list[Tensor]:
    n, c, h, w = x.shape
    view = x.view(n, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).contiguous().view(n, -1, h, w)
    stacked = torch.stack(x.chunk(2, 1), 2).flatten(1, 2)
    return [view, stacked, F.channel_shuffle(x, 2)]


@pytest.mark.parametrize("way", range(3))
def test_other_spellings_of_the_shuffle(way: int) -> None:
    module = Snippet(
        lambda m, x: other_shuffles(torch.cat([x[:, :10], m.conv(x[:, 10:])], 1))[way],
        conv=nn.Conv2d(10, 10, 1),
    )
    check(module, (3, 20, 5, 5))


def three_groups(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(m.conv(x), 3)


def test_a_shuffle_of_a_dense_convolution_is_the_order_of_its_weights() -> None:
    module = Snippet(
        lambda m, x: m.after(channel_shuffle(torch.relu(m.conv(x)), 3)),
        conv=nn.Conv2d(10, 24, 1),
        after=nn.Conv2d(24, 24, 3, 1, 1, groups=24),
    )
    assert copies(check(module, (1, 10, 6, 5), "NHWC")) == []


def test_a_shuffle_between_grouped_convolutions_has_a_kernel() -> None:
    module = Snippet(
        lambda m, x: m.after(channel_shuffle(torch.relu(m.conv(x)), 3)),
        conv=nn.Conv2d(12, 24, 1, groups=3),
        after=nn.Conv2d(24, 12, 1, groups=3),
    )
    found = operators(check(module, (2, 12, 6, 5), "NHWC"))
    assert found == {"conv2d": 2, "channel_shuffle": 1}


def three_groups_of_a_concat(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x, m.conv(x)], 1), 3)


def concat_of_three(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x[:, :6], m.conv(x)[:, 6:], m.narrowing(x)], 1), 2)


def unequal_halves(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x[:, :8], m.conv(x)], 1), 2)


def concat_used_twice(m: Any, x: Tensor) -> Tensor:
    y = torch.cat([x, m.conv(x)], 1)
    return channel_shuffle(y, 2) + y


def convolution_used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    y = m.conv(x)
    return channel_shuffle(torch.cat([x, y], 1), 2), y


def both_the_same(m: Any, x: Tensor) -> Tensor:
    y = m.conv(x)
    return channel_shuffle(torch.cat([y, y], 1), 2)


def convolution_first(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([m.conv(x), x], 1), 2)


def residual_before_the_shuffle(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x * 2, torch.relu(m.conv(x) + x)], 1), 2)


def residual_after_the_activation(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x * 2, torch.relu(m.conv(x)) + x], 1), 2)


def shuffle_of_nothing_else(_m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(x, 2)


def shuffle_of_a_shuffle(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(channel_shuffle(torch.cat([x, m.conv(x)], 1), 2), 2)


def shuffle_after_a_3x3(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([x, m.three(x)], 1), 2)


def shuffle_after_a_depthwise(m: Any, x: Tensor) -> Tensor:
    return channel_shuffle(torch.cat([m.conv(x), m.depthwise(x)], 1), 2)


def activation_after_the_shuffle(m: Any, x: Tensor) -> Tensor:
    return torch.relu(channel_shuffle(torch.cat([x, m.conv(x)], 1), 2))


def swapped_rows(_m: Any, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.reshape(n, c, 2, h // 2, w).transpose(2, 3).reshape(n, c, h, w)


def slices_of_a_pool_and_a_depthwise(m: Any, x: Tensor) -> Tensor:
    a, b = m.conv(x).chunk(2, 1)
    return torch.cat([F.max_pool2d(a, 3, 1, 1), F.avg_pool2d(b, 3, 1, 1)], 1) + m.depthwise(x)


def slice_of_rows(m: Any, x: Tensor) -> Tensor:
    return m.conv(x[:, :, 1:4])


def slice_of_rows_and_channels(m: Any, x: Tensor) -> Tensor:
    return m.narrowing(torch.cat([x, x], 1)[:, 6:18, 1:, 2:])


CASES = (
    three_groups, three_groups_of_a_concat, concat_of_three, unequal_halves, concat_used_twice,
    convolution_used_twice, both_the_same, convolution_first, residual_before_the_shuffle,
    residual_after_the_activation, shuffle_of_nothing_else, shuffle_of_a_shuffle,
    shuffle_after_a_3x3, shuffle_after_a_depthwise, activation_after_the_shuffle, swapped_rows,
    slices_of_a_pool_and_a_depthwise, slice_of_rows, slice_of_rows_and_channels,
)  # fmt: skip


@pytest.mark.parametrize("body", CASES, ids=lambda body: body.__name__)
def test_unusual_uses_stay_right(body: Callable[[Any, Tensor], Any]) -> None:
    module = Snippet(
        body,
        conv=nn.Conv2d(12, 12, 1), narrowing=nn.Conv2d(12, 6, 1), three=nn.Conv2d(12, 12, 3, 1, 1),
        depthwise=nn.Conv2d(12, 12, 3, 1, 1, groups=12),
    )  # fmt: skip
    check(module, (2, 12, 6, 5), "NHWC")
