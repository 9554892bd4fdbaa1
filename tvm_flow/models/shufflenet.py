"""ShuffleNet V2 (arXiv 1807.11164), structured and named as in torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tvm_flow.models.layers import conv_bn, relu

WIDTHS = {
    "x0_5": (48, 96, 192, 1024),
    "x1_0": (116, 232, 464, 1024),
    "x1_5": (176, 352, 704, 1024),
    "x2_0": (244, 488, 976, 2048),
}
"""Channels of the three stages and of the last 1x1."""


def channel_shuffle(x: Tensor, groups: int = 2) -> Tensor:
    """Interleave ``groups`` equal groups of channels; (N, C, H, W) keeps its shape."""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """One unit: half the channels pass (stride 1) or are reduced by a second branch (stride 2).

    Shapes: (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride)); at stride 1
    ``inputs`` equals ``outputs``, which is even.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *conv_bn(inputs, inputs, 3, stride=stride, groups=inputs),
                *conv_bn(inputs, half, 1, act=relu),
            )
        self.branch2 = nn.Sequential(
            *conv_bn(inputs if stride > 1 else half, half, 1, act=relu),
            *conv_bn(half, half, 3, stride=stride, groups=half),
            *conv_bn(half, half, 1, act=relu),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            kept, x = x.chunk(2, dim=1)
        else:
            kept = self.branch1(x)
        return channel_shuffle(torch.cat((kept, self.branch2(x)), dim=1))


class ShuffleNetV2(nn.Module):
    """Stem (3x3/2 to 24 channels, max pool /2), stages ``stage2``, ``stage3``, ..., 1x1, head.

    Parameters
    ----------
    channels: of each stage (even), then of the last 1x1.
    repeats: units of each stage, the first of which halves the size.
    in_channels, num_classes: widths of the input and the output.

    Shapes: (N, in_channels, H, W) -> (N, num_classes); every size works, and three stages halve
    it five times, rounding up.
    """

    def __init__(
        self,
        channels: Sequence[int],
        repeats: Sequence[int] = (4, 8, 4),
        *,
        in_channels: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        *widths, last = channels
        width = 24
        self.conv1 = conv_bn(in_channels, width, 3, stride=2, act=relu)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.stages: list[str] = []
        for index, (outputs, depth) in enumerate(zip(widths, repeats, strict=True)):
            units = [ShuffleUnit(width, outputs, stride=2)]
            units += [ShuffleUnit(outputs, outputs, stride=1) for _ in range(depth - 1)]
            self.stages.append(f"stage{index + 2}")
            self.add_module(self.stages[-1], nn.Sequential(*units))
            width = outputs
        self.conv5 = conv_bn(width, last, 1, act=relu)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(self.conv5(x).mean((2, 3)))


def shufflenet_v2(variant: str, num_classes: int) -> ShuffleNetV2:
    """A published width: x0_5, x1_0, x1_5 or x2_0. Raises ``KeyError`` for any other."""
    return ShuffleNetV2(WIDTHS[variant], num_classes=num_classes)
