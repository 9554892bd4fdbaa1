"""MobileNet V3 (arXiv 1905.02244) at width 1.0, structured and named as in torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tvm_flow.models.layers import conv_bn, relu


def hardswish() -> nn.Module:
    return nn.Hardswish(inplace=True)


# The paper trains with TensorFlow's epsilon and momentum; torchvision's weights expect both.
_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Block(NamedTuple):
    """One row of tables 1 and 2: kernel, hidden and output channels, SE, hardswish, stride."""

    kernel: int
    hidden: int
    outputs: int
    squeeze: bool
    hardswish: bool
    stride: int


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)


def squeeze_width(hidden: int) -> int:
    """A quarter of ``hidden`` rounded to a multiple of 8, but not down by more than 10 %."""
    quarter = hidden // 4
    rounded = max(8, (quarter + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * quarter else rounded


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate in [0, 1] computed from all channel means.

    Shapes: (N, channels, H, W) keeps its shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = squeeze_width(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = relu()
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = nn.Hardsigmoid(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(gate) * x


class InvertedResidual(nn.Module):
    """1x1 up (unless the width stays), depthwise, squeeze-excite if asked, linear 1x1 down.

    Shapes: (N, inputs, H, W) -> (N, row.outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, row: Block) -> None:
        super().__init__()
        act = hardswish if row.hardswish else relu
        make = partial(conv_bn, norm=_norm)
        layers: list[nn.Module] = []
        if row.hidden != inputs:
            layers.append(make(inputs, row.hidden, 1, act=act))
        layers.append(
            make(row.hidden, row.hidden, row.kernel, stride=row.stride, groups=row.hidden, act=act)
        )
        if row.squeeze:
            layers.append(SqueezeExcite(row.hidden))
        layers.append(make(row.hidden, row.outputs, 1))
        self.block = nn.Sequential(*layers)
        self.shortcut = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.shortcut else self.block(x)


class MobileNetV3(nn.Module):
    """``rows`` is :data:`LARGE` (``last`` 1280) or :data:`SMALL` (``last`` 1024).

    Shapes: (N, 3, H, W) -> (N, num_classes); every size works, halved five times, rounding up.
    """

    def __init__(
        self, rows: Sequence[Block], last: int, num_classes: int = 1000, dropout: float = 0.2
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 16, 3, stride=2, act=hardswish, norm=_norm)]
        width = 16
        for row in rows:
            layers.append(InvertedResidual(width, row))
            width = row.outputs
        layers.append(conv_bn(width, 6 * width, 1, act=hardswish, norm=_norm))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(6 * width, last),
            hardswish(),
            nn.Dropout(dropout),
            nn.Linear(last, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def mobilenet_v3(variant: str, num_classes: int) -> MobileNetV3:
    """``"small"`` or ``"large"``. Raises ``KeyError`` for any other."""
    rows, last = {"small": (SMALL, 1024), "large": (LARGE, 1280)}[variant]
    return MobileNetV3(rows, last, num_classes)
