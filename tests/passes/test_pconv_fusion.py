"""What PConv is fused with, and what must stay apart; every result is compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, copies, operators
from tvm_flow.ir.graph import Graph
from tvm_flow.models.pconv import PConvBottleneck, PConvForward

SHAPE, C, CC = (1, 20, 7, 5), 20, 5


def conv(inputs: int = CC, outputs: int = CC, k: int = 3, **more: Any) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, k, **{"padding": k // 2, "bias": False, **more})


def pconv(conv_: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([conv_(x[:, :CC]), x[:, CC:]], 1)


def found(graph: Graph) -> dict[str, int]:
    """Operators other than the transposes at the NCHW border."""
    assert set(copies(graph)) <= {"permute"}, graph.text()
    return {op: count for op, count in operators(graph).items() if op != "permute"}


ACTS: dict[str, nn.Module] = {
    "identity": nn.Identity(), "relu": nn.ReLU(), "gelu": nn.GELU(), "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(), "silu": nn.SiLU(), "sigmoid": nn.Sigmoid(),
    "hardsigmoid": nn.Hardsigmoid(), "in_place": nn.ReLU(inplace=True),
    "clipped": nn.Hardtanh(0.0, 6.0),
}  # fmt: skip


@pytest.mark.parametrize(
    "norm",
    [
        pytest.param(nn.Identity, id="plain", marks=pytest.mark.slow),
        pytest.param(nn.BatchNorm2d, id="bn"),
    ],
)
def test_pointwise_with_norm_and_every_activation(norm: Callable[[int], nn.Module]) -> None:
    module = Snippet(
        lambda m, x: [act(m.norm(m.pw(pconv(m.conv, x)))) for act in m.acts.values()],
        conv=conv(), pw=conv(C, 58, 1), norm=norm(58), acts=nn.ModuleDict(ACTS),
    )  # fmt: skip
    assert found(check(module, SHAPE)) == {"pconv_pointwise": len(ACTS)}


def test_pointwise_with_bias_everywhere() -> None:
    module = Snippet(
        lambda m, x: m.pw(pconv(m.conv, x)),
        conv=conv(bias=True), pw=conv(C, 10, 1, bias=True),
    )  # fmt: skip
    assert found(check(module, (3, *SHAPE[1:]))) == {"pconv_pointwise": 1}


def test_pointwise_with_residual_before_the_activation() -> None:
    module = Snippet(
        lambda m, x: torch.relu(m.bn(m.pw(pconv(m.conv, x))) + x),
        conv=conv(), pw=conv(C, C, 1), bn=nn.BatchNorm2d(C),
    )  # fmt: skip
    assert found(check(module, SHAPE)) == {"pconv_pointwise": 1}


@pytest.mark.parametrize("forward", ["split_cat", "slicing"])
@pytest.mark.parametrize("act", [nn.GELU, nn.ReLU])
def test_fasternet_block(act: Callable[[], nn.Module], forward: PConvForward) -> None:
    block = PConvBottleneck(40, act=act, forward=forward)
    module = Snippet(lambda m, x: m.block(x), block=block)
    assert found(check(module, (1, 40, 7, 7))) == {"pconv_block": 1}


@pytest.mark.parametrize("order", [lambda x, y: x + y, lambda x, y: y + x, lambda _, y: y])
def test_block_with_the_residual_on_either_side_or_none(
    order: Callable[[Tensor, Tensor], Tensor],
) -> None:
    module = Snippet(
        lambda m, x: order(x, m.down(torch.relu(m.up(pconv(m.conv, x))))),
        conv=conv(), up=conv(C, 33, 1, bias=True), down=conv(33, C, 1, bias=True),
    )  # fmt: skip
    assert found(check(module, (3, *SHAPE[1:]))) == {"pconv_block": 1}


def used_twice(m: Any, x: Tensor) -> Tensor:
    y = pconv(m.conv, x)
    return m.pw(y) + y


def convolved_part_used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    head = m.conv(x[:, :CC])
    return torch.cat([head, x[:, CC:]], 1), head * 2


def hidden_used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    hidden = torch.relu(m.pw(pconv(m.conv, x)))
    return x + m.pw2(hidden), hidden


def another_residual(m: Any, x: Tensor) -> Tensor:
    return m.pw2(torch.relu(m.pw(pconv(m.conv, x)))) + m.pw(x)


def broadcast_residual(m: Any, x: Tensor) -> Tensor:
    return m.pw(pconv(m.conv, x)) + x.mean((2, 3), keepdim=True)


def residual_of_one_row(m: Any, x: Tensor) -> Tensor:
    return x[:, :, :1] + m.pw2(torch.relu(m.pw(pconv(m.conv, x))))


def activation_after_the_block(m: Any, x: Tensor) -> Tensor:
    return torch.relu(x + m.pw2(torch.relu(m.pw(pconv(m.conv, x)))))


def activation_before_the_addition(m: Any, x: Tensor) -> Tensor:
    return x + torch.relu(m.pw2(torch.relu(m.pw(pconv(m.conv, x)))))


def residual_after_the_activation(m: Any, x: Tensor) -> Tensor:
    return x + torch.relu(m.pw(pconv(m.conv, x)))


def residual_twice(m: Any, x: Tensor) -> Tensor:
    return m.pw(pconv(m.conv, x)) + x + x


def hidden_plus_residual(m: Any, x: Tensor) -> Tensor:
    return x + m.pw2(torch.relu(m.pw(pconv(m.conv, x)) + x))


def batch_norm_with_two_users(m: Any, x: Tensor) -> Tensor:
    y = m.bn(m.pw(pconv(m.conv, x)))
    return torch.relu(y) + torch.sigmoid(y)


def convolution_before_a_batch_norm_used_elsewhere(m: Any, x: Tensor) -> Tensor:
    y = m.pw(pconv(m.conv, x))
    return m.bn(y) + y


def middle_slice(m: Any, x: Tensor) -> Tensor:
    return torch.cat([x[:, :3], m.conv(x[:, 3:8]), x[:, 8:]], 1)


def last_slice(m: Any, x: Tensor) -> Tensor:
    return m.pw(torch.cat([x[:, : C - CC], m.conv(x[:, C - CC :])], 1))


def scatter_not_at_the_start(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 5:10] = m.conv(x[:, 5:10])
    return m.pw(y)


def scatter_of_other_channels(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :5] = m.conv(x[:, 5:10])
    return m.pw(y)


def rest_in_another_order(m: Any, x: Tensor) -> Tensor:
    return m.pw(torch.cat([m.conv(x[:, :5]), x[:, 10:], x[:, 5:10]], 1))


def rest_with_a_gap(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.conv(x[:, :5]), x[:, 7:]], 1)


def rest_of_another_tensor(m: Any, x: Tensor) -> Tensor:
    return m.pw(torch.cat([m.conv(x[:, :5]), (x * 2)[:, 5:]], 1))


def widening_head(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.wide(x[:, :5]), x[:, 5:]], 1)


def rows_not_channels(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.same(x[:, :, :3]), x[:, :, 3:]], 2)


def written_and_read_again(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :5] = m.conv(x[:, :5])
    y[:, 5:10] = m.conv(y[:, :5])
    return y + x


def batch_part(m: Any, x: Tensor) -> Tensor:
    y = torch.cat([x, x * 2])
    return torch.cat([m.same(y[:1]), y[1:]], 0)


APART = (
    used_twice, convolved_part_used_twice, hidden_used_twice, another_residual,
    broadcast_residual, residual_of_one_row, activation_after_the_block,
    activation_before_the_addition, residual_after_the_activation, residual_twice,
    hidden_plus_residual, batch_norm_with_two_users,
    convolution_before_a_batch_norm_used_elsewhere, middle_slice, last_slice,
    scatter_not_at_the_start, scatter_of_other_channels, rest_in_another_order, rest_with_a_gap,
    rest_of_another_tensor, widening_head, rows_not_channels, written_and_read_again, batch_part,
)  # fmt: skip
#: of these a part, but not all, may be fused
PARTLY = {
    "used_twice": "pconv",
    "hidden_used_twice": "pconv_pointwise",
    "another_residual": "pconv_block",
    "residual_after_the_activation": "pconv",
    "batch_norm_with_two_users": "pconv_pointwise",
    "activation_after_the_block": "pconv_pointwise",
}


@pytest.mark.parametrize("body", APART, ids=lambda body: body.__name__)
def test_what_is_not_a_pconv_chain_stays_right(body: Callable[[Any, Tensor], Any]) -> None:
    module = Snippet(
        body,
        conv=conv(bias=True), wide=conv(CC, 8), same=conv(C, C), pw=conv(C, C, 1, bias=True),
        pw2=conv(C, C, 1), bn=nn.BatchNorm2d(C),
    )  # fmt: skip
    seen = operators(check(module, SHAPE))
    if body.__name__ in PARTLY:
        assert seen[PARTLY[body.__name__]] == 1


@pytest.mark.parametrize(
    "replaced",
    [
        conv(groups=5),
        conv(dilation=2, padding=2),
        conv(k=1, padding=0, bias=True),
        conv(k=4, padding="same"),
        nn.Conv2d(CC, CC, (3, 5), padding=(1, 2)),
        nn.Sequential(nn.ZeroPad2d((1, 1, 2, 0)), conv(padding=0)),
        nn.Sequential(nn.ZeroPad2d(1), conv(padding=0)),
        nn.Sequential(conv(), nn.ReLU()),
        nn.Sequential(conv(), nn.BatchNorm2d(CC)),
        conv(padding_mode="reflect"),
        nn.MaxPool2d(3, 1, 1),
    ],
    ids=["depthwise", "dilated", "one_by_one", "even", "oblong", "padded_unevenly", "padded_apart",
         "relu", "bn", "reflect", "pool"],
)  # fmt: skip
def test_other_operators_in_the_place_of_the_convolution(replaced: nn.Module) -> None:
    module = Snippet(
        lambda m, x: torch.relu(m.pw(pconv(m.conv, x))), conv=replaced, pw=conv(C, 10, 1)
    )
    check(module, SHAPE)


@pytest.mark.parametrize(
    "second",
    [conv(C, 10, 1, stride=2), conv(C, 10, 1, padding=1), conv(C, 10, 3), conv(C, 10, 1, groups=2)],
    ids=["stride", "padding", "3x3", "groups"],
)
def test_other_convolutions_after_the_pconv(second: nn.Module) -> None:
    module = Snippet(lambda m, x: m.second(pconv(m.conv, x)), conv=conv(), second=second)
    assert operators(check(module, SHAPE))["pconv"] == 1


def test_strided_convolution_in_the_place_of_pconv() -> None:
    module = Snippet(
        lambda m, x: torch.cat([m.conv(x[:, :CC]), m.pool(x[:, CC:])], 1),
        conv=conv(stride=2), pool=nn.AvgPool2d(3, 2, 1),
    )  # fmt: skip
    check(module, SHAPE)
