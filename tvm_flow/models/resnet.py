"""ResNet-18 (arXiv 1512.03385), structured and named as in torchvision, and its PConv variant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tvm_flow.models.layers import conv_bn, relu
from tvm_flow.models.pconv import PConvPointwise

Conv3x3 = Callable[[int, int, int], nn.Module]


def dense_conv3x3(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The plain 3x3 convolution: padded by 1, no bias."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def partial_conv3x3(inputs: int, outputs: int, stride: int) -> nn.Module:
    """PConv + 1x1 where input and output are alike, the plain 3x3 where they are not."""
    if inputs == outputs and stride == 1:
        return PConvPointwise(inputs)
    return dense_conv3x3(inputs, outputs, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, projected by a 1x1 where the shape changes.

    Shapes: (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, conv3x3: Conv3x3) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = relu()
        self.conv2 = conv3x3(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = conv_bn(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet18(nn.Module):
    """Four stages of two :class:`BasicBlock`; ``conv3x3`` makes the 3x3 convolutions in them.

    Shapes: (N, 3, H, W) -> (N, num_classes); every size works, halved five times, rounding up.
    """

    def __init__(self, num_classes: int = 1000, conv3x3: Conv3x3 = dense_conv3x3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = relu()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(64, 64, 1, conv3x3)
        self.layer2 = _stage(64, 128, 2, conv3x3)
        self.layer3 = _stage(128, 256, 2, conv3x3)
        self.layer4 = _stage(256, 512, 2, conv3x3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _stage(inputs: int, outputs: int, stride: int, conv3x3: Conv3x3) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, conv3x3), BasicBlock(outputs, outputs, 1, conv3x3)
    )
