"""Operators without an algorithm go through TVM's own, and stay right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, flatten, imported

SHAPE = (2, 12, 9, 7)


class Attention(nn.Module):
    """Softmax attention over pixels: products of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).chunk(3, -1)
        mixed = F.softmax(q @ k.transpose(1, 2) / 12**0.5, -1) @ v
        return (tokens + mixed).transpose(1, 2).reshape(x.shape)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of an image, as ConvNeXt writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 12))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-6) * self.weight[:, None, None]


def two_users(y: Tensor) -> Tensor:
    return torch.relu(y) + y


MODULES: dict[str, nn.Module] = {
    "grouped": nn.Conv2d(12, 24, 3, padding=1, groups=3),
    "grouped_1x1_relu": nn.Sequential(nn.Conv2d(12, 12, 1, groups=4), nn.ReLU()),
    "depthwise_multiplier": nn.Conv2d(12, 24, 3, padding=1, groups=12),
    "dilated_bn_relu": nn.Sequential(
        nn.Conv2d(12, 10, 3, padding=2, dilation=2), nn.BatchNorm2d(10), nn.ReLU()
    ),
    "dilated_depthwise": nn.Conv2d(12, 12, 3, padding=2, dilation=2, groups=12),
    "same_padding_even_kernel": nn.Conv2d(12, 10, 4, padding="same"),
    "reflect": nn.Conv2d(12, 10, 3, padding=1, padding_mode="reflect"),
    "replicate": nn.ReplicationPad2d((1, 2, 0, 1)),
    "zero_pad_then_conv": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(12, 10, 3, 2)),
    "constant_pad": nn.ConstantPad2d(1, 2.5),
    "negative_pad": nn.ZeroPad2d((-1, 1, 0, -2)),
    "transposed": nn.ConvTranspose2d(12, 10, 2, stride=2),
    "transposed_3x3_relu": nn.Sequential(
        nn.ConvTranspose2d(12, 10, 3, 2, 1, output_padding=1), nn.ReLU()
    ),
    "layer_norm": nn.LayerNorm([12, 9, 7]),
    "channel_norm": ChannelNorm(),
    "group_norm": nn.GroupNorm(3, 12),
    "instance_norm": nn.InstanceNorm2d(12, affine=True),
    "attention": Attention(),
    "prelu": nn.Sequential(nn.Conv2d(12, 12, 1), nn.PReLU(12, init=0.3)),
    "prelu_single": nn.PReLU(),
    "leaky_relu": nn.LeakyReLU(0.1),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "softplus": nn.Softplus(),
    "mish": nn.Mish(),
    "tanh": nn.Tanh(),
    "tanh_gelu": nn.Sequential(nn.Conv2d(12, 12, 1), nn.GELU(approximate="tanh")),
    "hardtanh": nn.Hardtanh(-0.5, 2.0),
    "relu_then_hardtanh": nn.Sequential(nn.ReLU(), nn.Hardtanh(-1.0, 1.0)),
    "relu6_of_relu6": nn.Sequential(nn.ReLU6(), nn.ReLU6()),
    "softmax_of_channels": nn.Softmax(1),
    "log_softmax": nn.LogSoftmax(-1),
    "avg_without_padding": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "avg_with_padding": nn.AvgPool2d(3, 2, 1),
    "avg_ceil": nn.AvgPool2d(2, 2, ceil_mode=True),
    "max_ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max_ceil_that_fits": nn.MaxPool2d((3, 3), 2, ceil_mode=True),
    "max_dilated": nn.MaxPool2d(2, 1, dilation=2),
    "adaptive_avg": nn.AdaptiveAvgPool2d((3, 7)),
    "adaptive_avg_uneven": nn.AdaptiveAvgPool2d((2, 3)),
    "adaptive_max": nn.AdaptiveMaxPool2d(1),
    "nearest": nn.Upsample(scale_factor=2),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear_corners": nn.Upsample(size=(17, 13), mode="bilinear", align_corners=True),
    "pixel_shuffle": nn.PixelShuffle(2),
    "pixel_unshuffle": nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.PixelUnshuffle(2)),
    "flatten_linear": nn.Sequential(nn.Flatten(), nn.Linear(12 * 63, 10), nn.ReLU()),
    "flatten_conv_linear": nn.Sequential(nn.Conv2d(12, 5, 3), nn.Flatten(), nn.Linear(175, 10)),
    "linear_on_width": nn.Sequential(nn.Linear(7, 11), nn.GELU()),
    "batch_norm_first": nn.BatchNorm2d(12),
    "batch_norm_after_pool": nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(12), nn.ReLU()),
    "conv1d": nn.Sequential(nn.Flatten(2), nn.Conv1d(12, 10, 3, padding=1)),
}  # fmt: skip

BODIES: dict[str, Callable[[Any, Tensor], Any]] = {
    "mean_of_channels": lambda _, x: x.mean(1, keepdim=True) * x,
    "mean_of_one_axis": lambda _, x: x.mean(2),
    "mean_of_pixels": lambda _, x: x.mean((-1, -2)),
    "mean_of_everything": lambda _, x: x - x.mean(),
    "max_of_channels": lambda _, x: torch.cat([x.amax(1, True), x.mean(1, True)], 1),
    "sum_and_power": lambda _, x: (x**2).sum((2, 3)).sqrt(),
    "two_outputs": lambda m, x: (m.conv(x), torch.relu(m.conv(x)).mean((2, 3))),
    "input_as_output": lambda m, x: (x * 1.0, m.conv(x)),
    "same_output_twice": lambda m, x: (m.conv(x), m.conv(x) + 0),
    "permuted": lambda m, x: m.conv(x).permute(0, 2, 3, 1),
    "permuted_to_and_fro": lambda m, x: m.conv(x).permute(0, 2, 3, 1).permute(0, 3, 1, 2),
    "linear_in_nhwc": lambda m, x: m.lin(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
    "rows_and_columns_swapped": lambda m, x: m.conv(x.transpose(2, 3)),
    "reshaped_rows": lambda m, x: m.conv(x.reshape(2, 12, 7, 9)),
    "gram": lambda _, x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
    "squeeze_excite": lambda m, x: x * torch.sigmoid(m.conv(F.relu(m.conv(x.mean((2, 3), True))))),
    "squeeze_excite_linear": lambda m, x: x
    * F.hardsigmoid(m.lin(x.mean((2, 3))))[:, :, None, None],
    "channel_constant": lambda m, x: m.conv(x) * m.lin.bias[:, None, None] + 1.5,
    "constant_minus": lambda m, x: 1.0 - m.conv(x),
    "constant_over": lambda m, x: m.lin.bias.view(1, 12, 1, 1) / (m.conv(x) ** 2 + 1),
    "channel_minus": lambda m, x: m.lin.bias.view(12, 1, 1) - m.conv(x),
    "constant_image": lambda m, x: m.conv(x) + m.lin.weight[:9, :7],
    "width_constant": lambda m, x: m.conv(x) + m.lin.bias[:7],
    "swish_by_hand": lambda m, x: m.conv(x) * torch.sigmoid(m.conv(x)),
    "gate_of_another": lambda m, x: x * torch.sigmoid(m.conv(x)),
    "relu6_plus_three": lambda m, x: F.relu6(m.conv(x) + 3) / 6,
    "hardswish_by_hand": lambda m, x: x * (F.relu6(x + 3) / 6),
    "hardswish_otherwise_grouped": lambda m, x: m.conv(x) * F.relu6(m.conv(x) + 3) / 6,
    "hard_gate_of_another": lambda m, x: x * F.relu6(m.conv(x) + 3) / 6,
    "clamps": lambda m, x: m.conv(x).clamp(-0.5, 3.0).clamp(min=0).clamp(max=2.0),
    "relu_by_clamp": lambda m, x: m.conv(x).clamp(min=0),
    "disjoint_clamps": lambda m, x: m.conv(x).clamp(2, 3).clamp(-1, 1),
    "max_and_min": lambda m, x: torch.minimum(torch.maximum(m.conv(x), x), x + 0.5),
    "where": lambda m, x: torch.where(x > 0, m.conv(x), x),
    "indexed": lambda m, x: m.conv(x)[:, :, ::2, 1:],
    "strided_channels": lambda m, x: m.conv(x)[:, ::2],
    "flipped": lambda m, x: m.conv(x).flip(3),
    "rolled": lambda m, x: torch.roll(m.conv(x), (1, 2), (2, 3)),
    "stacked": lambda m, x: torch.stack([x, m.conv(x)], 1).mean(1),
    "expanded": lambda m, x: m.conv(x) + x.mean((2, 3), True).expand(2, 12, 9, 7),
    "repeated": lambda m, x: m.conv(x).repeat(1, 2, 1, 1),
    "unsqueezed": lambda m, x: m.conv(x).unsqueeze(1).squeeze(1),
    "einsum": lambda m, x: torch.einsum("nchw,oc->nohw", x, m.lin.weight),
    "addition_of_itself": lambda m, x: m.conv(x) + m.conv(x),
    "doubled": lambda m, x: torch.add(*[m.conv(x)] * 2),
    "squared": lambda m, x: torch.mul(*[m.conv(x)] * 2),
    "dense_twice": lambda m, x: m.lin(F.relu(m.lin(x.mean((2, 3))))),
    "dense_residual": lambda m, x: torch.relu(m.lin(x.mean((2, 3))) + x[:, :, 0, 0]),
    "dense_with_two_users": lambda m, x: two_users(m.lin(x.mean((2, 3)))),
    "normalised": lambda m, x: F.normalize(m.conv(x), dim=1),
    "dropout": lambda m, x: F.dropout(m.conv(x), 0.5, training=False),
    "weight_of_two_convs": lambda m, x: m.conv(torch.relu(m.conv(x))),
    "scaled": lambda m, x: m.conv(x) * 0.5 - 1,
    "to_and_fro": lambda m, x: m.conv(x).to(torch.float64).to(torch.float32),
    "half_way": lambda m, x: m.conv(x).contiguous(memory_format=torch.channels_last),
}  # fmt: skip


def parts() -> dict[str, nn.Module]:
    return {"conv": nn.Conv2d(12, 12, 1), "lin": nn.Linear(12, 12)}


def together(names: Iterable[str]) -> list[list[str]]:
    """Six at a time, which takes half the time of one by one."""
    left = list(names)
    return [left[at : at + 6] for at in range(0, len(left), 6)]


@pytest.mark.parametrize("names", together(MODULES), ids=" ".join)
def test_modules(names: list[str]) -> None:
    used = nn.ModuleList(MODULES[name] for name in names)
    check(Snippet(lambda m, x: [part(x) for part in m.used], used=used), SHAPE)


@pytest.mark.parametrize("names", together(BODIES), ids=" ".join)
def test_functions(names: list[str]) -> None:
    """Each with convolutions of its own, so that all are fused as they are alone."""
    own = nn.ModuleDict({name: nn.ModuleDict(parts()) for name in names})
    module = Snippet(
        lambda m, x: [y for name in names for y in flatten(BODIES[name](m.own[name], x))], own=own
    )
    check(module, SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    check(Snippet(lambda m, x: m.part(x), part=MODULES[name]), SHAPE)


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_function(name: str) -> None:
    check(Snippet(BODIES[name], **parts()), SHAPE)


@pytest.mark.parametrize("shape", [(1, 3, 97, 65), (3, 3, 33, 34)])
def test_odd_image_sizes(shape: tuple[int, ...]) -> None:
    module = Snippet(
        lambda m, x: m.net(x),
        net=nn.Sequential(
            nn.Conv2d(3, 10, 3, 2, 1), nn.BatchNorm2d(10), nn.ReLU6(),
            nn.Conv2d(10, 10, 3, 2, 1, groups=10), nn.Hardswish(), nn.Conv2d(10, 20, 1),
            nn.MaxPool2d(3, 2, 1), nn.Conv2d(20, 20, 3, 1, 1), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(20, 7),
        ),
    )  # fmt: skip
    check(module, shape)


@pytest.mark.parametrize("shape", [(1, 3, 8, 9), (3, 12, 7, 7)])
def test_nhwc_borders(shape: tuple[int, ...]) -> None:
    module = Snippet(
        lambda m, x: (m.first(x), torch.relu(m.second(m.first(x))).mean((2, 3)), x * 2),
        first=nn.Conv2d(shape[1], 10, 3, 1, 1),
        second=nn.Conv2d(10, 12, 1),
    )
    graph = check(module, shape, "NHWC")
    assert [node.op for node in graph.nodes() if node.op == "permute"] == []


def test_imports_keep_module_paths() -> None:
    module = Snippet(lambda m, x: m.bn(m.conv(x)), conv=nn.Conv2d(12, 5, 1), bn=nn.BatchNorm2d(5))
    paths = [path for node in imported(module, SHAPE).nodes() for path in node.modules]
    assert "conv" in paths
