"""Transposed convolutions, lines, volumes, pooling and resizing in all their variants: with kernels
only, held against PyTorch, some of them compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.passes.networks import Snippet, check, operators
from tests.verify.networks import verified
from tvm_flow.backends.cpu import CPU
from tvm_flow.ir.generic import generic_operators
from tvm_flow.ir.graph import Graph

IMAGE, LINE, VOLUME = (2, 12, 5, 7), (2, 12, 11), (2, 12, 4, 5, 6)


def up(co: int = 10, *args: int, ci: int = 12, **more: Any) -> nn.Module:
    return nn.ConvTranspose2d(ci, co, *args, **more)


def line(ci: int, co: int, k: int, **more: Any) -> nn.Module:
    return nn.Sequential(nn.Conv1d(ci, co, k, **more), nn.BatchNorm1d(co), nn.ReLU())


def volume(ci: int, co: int, k: Any, **more: Any) -> nn.Module:
    return nn.Sequential(nn.Conv3d(ci, co, k, **more), nn.BatchNorm3d(co), nn.ReLU())


class Residual(nn.Module):
    """(2+1)-D: a convolution of planes, one of depth, and what came in."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.planes = volume(c, c, (1, 3, 3), padding=(0, 1, 1))
        self.depth = nn.Sequential(nn.Conv3d(c, c, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(c))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.depth(self.planes(x)) + x)


class Pyramid(nn.Module):
    """A coarse map added to a finer one."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(12, 10, 1), nn.Conv2d(12, 10, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fine(x) + F.interpolate(self.coarse(x), x.shape[2:], mode="bilinear")


IMAGES: dict[str, nn.Module] = {
    "up": nn.Sequential(up(10, 2, 2), nn.BatchNorm2d(10), nn.ReLU()),
    "up_to_one": nn.Sequential(up(1, 2, 2), nn.Sigmoid()),
    "up_4": up(10, 4, 2, 1, bias=False),
    "up_3": nn.Sequential(up(24, 3, 2, 1, output_padding=1), nn.Hardswish()),
    "up_3_odd": up(3, 3, 2, 1),
    "up_5_by_3": up(5, 5, 3, 1, output_padding=2),
    "up_less_than_stride": up(5, 2, 3, output_padding=1),
    "up_uneven": up(5, (2, 3), (2, 1), (0, 1)),
    "up_dilated": up(5, 3, 2, 1, dilation=2),
    "up_grouped": up(20, 3, 2, 1, output_padding=1, groups=2),
    "up_depthwise": nn.Sequential(up(12, 4, 2, 1, groups=12), nn.ReLU()),
    "up_same_size": up(10, 3, 1, 1),
    "up_same_size_cut": up(10, 3, 1, 3),
    "max_ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "max_dilated": nn.MaxPool2d(2, 1, 1, dilation=3),
    "avg_ceil": nn.AvgPool2d(2, 2, ceil_mode=True),
    "avg_ceil_padded": nn.AvgPool2d(3, 2, 1, ceil_mode=True),
    "avg_inside": nn.AvgPool2d(3, 2, 1, count_include_pad=False),
    "avg_inside_ceil": nn.AvgPool2d((3, 2), (2, 3), 1, True, False),
    "nearest": nn.Upsample(scale_factor=3),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear_smaller": nn.Upsample(size=(3, 4), mode="bilinear"),
    "bilinear_corners": nn.Upsample(size=(17, 13), mode="bilinear", align_corners=True),
    "bicubic": nn.Upsample(scale_factor=2, mode="bicubic"),
    "bicubic_smaller": nn.Upsample(size=(3, 13), mode="bicubic", align_corners=True),
    "pyramid": Pyramid(),
}  # fmt: skip
LINES: dict[str, nn.Module] = {
    "chain": nn.Sequential(line(12, 10, 3, padding=1), line(10, 20, 5, stride=2), nn.MaxPool1d(2)),
    "depthwise": line(12, 12, 3, groups=12, padding=1),
    "dilated_groups": line(12, 24, 3, groups=3, dilation=2, padding=2),
    "same": nn.Conv1d(12, 10, 4, padding="same"),
    "vocoder": nn.Sequential(
        nn.Conv1d(12, 10, 3), nn.LeakyReLU(0.1), nn.ConvTranspose1d(10, 6, 4, 2, 1), nn.Tanh()
    ),
    "up": nn.Sequential(nn.ConvTranspose1d(12, 10, 4, 2, 1), nn.BatchNorm1d(10), nn.ReLU()),
    "up_3": nn.ConvTranspose1d(12, 10, 3, 2, 1, output_padding=1),
    "avg": nn.Sequential(nn.Conv1d(12, 12, 1), nn.AvgPool1d(3, 2, 1)),
    "head": nn.Sequential(line(12, 20, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(20, 5)),
}  # fmt: skip
VOLUMES: dict[str, nn.Module] = {
    "chain": nn.Sequential(volume(12, 10, 3, padding=1), nn.MaxPool3d(2), volume(10, 6, 2)),
    "strided": volume(12, 10, 3, stride=2, padding=1),
    "planes": volume(12, 10, (1, 3, 3), padding=(0, 1, 1)),
    "1x1": nn.Conv3d(12, 10, 1),
    "1x1_strided": nn.Conv3d(12, 10, 1, 2),
    "residual": Residual(12),
    "depthwise": volume(12, 12, 3, padding=1, groups=12),
    "grouped_dilated": nn.Conv3d(12, 6, (2, 2, 3), padding=2, dilation=2, groups=3),
    "max": nn.MaxPool3d(3, 2, 1),
    "avg": nn.AvgPool3d((2, 3, 3), (1, 2, 2), (0, 1, 1)),
    "head": nn.Sequential(volume(12, 6, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(6, 5)),
}  # fmt: skip
MODULES = [
    pytest.param(module, shape, id=f"{kind}-{name}")
    for kind, shape, modules in (
        ("image", IMAGE, IMAGES),
        ("line", LINE, LINES),
        ("volume", VOLUME, VOLUMES),
    )
    for name, module in modules.items()
]


def without_kernel(graph: Graph) -> list[str]:
    found = generic_operators(graph, lambda node: bool(CPU.ways(node, CPU.typical)))
    return [operator.operator for operator in found]


@pytest.mark.parametrize(("module", "shape"), MODULES)
def test_kernels_compute_it(module: nn.Module, shape: tuple[int, ...]) -> None:
    graph = verified(Snippet(lambda m, x: m.part(x), part=module), shape).graph
    assert without_kernel(graph) == []
    left = operators(graph).keys()
    assert not left & {"act", "affine", "concat"}, graph.text()


def test_nothing_is_copied_between_convolutions_of_lines() -> None:
    graph = verified(LINES["chain"], LINE).graph
    assert operators(graph) == {"permute": 2, "conv2d": 2, "pool2d": 1}
    graph = verified(LINES["vocoder"], LINE).graph
    assert operators(graph) == {"permute": 2, "conv2d": 1, "conv_transpose": 1}


def test_residuals_of_volumes_are_added_by_their_convolution() -> None:
    graph = verified(VOLUMES["residual"], VOLUME).graph
    assert operators(graph) == {"permute": 2, "conv2d": 1, "conv3d": 1}


def test_a_resized_map_is_added_where_it_is_made_or_read() -> None:
    graph = verified(IMAGES["pyramid"], IMAGE).graph
    assert operators(graph) == {"permute": 1, "conv2d": 2, "resize": 1}


@pytest.mark.parametrize(
    ("modules", "shape"),
    [
        pytest.param(IMAGES, IMAGE, id="images", marks=pytest.mark.slow),
        pytest.param(LINES, LINE, id="lines"),
        pytest.param(VOLUMES, VOLUME, id="volumes", marks=pytest.mark.slow),
    ],
)
def test_compiled(modules: dict[str, nn.Module], shape: tuple[int, ...]) -> None:
    used = nn.ModuleList(list(modules.values())[::2])
    check(Snippet(lambda m, x: [part(x) for part in m.used], used=used), shape)
