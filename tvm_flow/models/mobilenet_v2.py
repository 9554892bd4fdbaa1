"""MobileNet V2 (arXiv 1801.04381) at width 1.0, structured and named as in torchvision."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tvm_flow.models.layers import conv_bn

SETTINGS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Table 2 of the paper: expansion, channels, repeats, stride of the first repeat."""


def relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


class InvertedResidual(nn.Module):
    """1x1 up by ``expansion`` (unless 1), 3x3 depthwise, linear 1x1 down, shortcut if it fits.

    Shapes: (N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(conv_bn(inputs, hidden, 1, act=relu6))
        layers.append(conv_bn(hidden, hidden, 3, stride=stride, groups=hidden, act=relu6))
        self.conv = nn.Sequential(*layers, *conv_bn(hidden, outputs, 1))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """The table's blocks between a 3x3/2 stem and a 1x1 to 1280, then pooling and one linear layer.

    Shapes: (N, 3, H, W) -> (N, num_classes); every size works, halved five times, rounding up.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, stride=2, act=relu6)]
        width = 32
        for expansion, outputs, repeats, stride in SETTINGS:
            for index in range(repeats):
                first = stride if index == 0 else 1
                layers.append(InvertedResidual(width, outputs, first, expansion))
                width = outputs
        layers.append(conv_bn(width, 1280, 1, act=relu6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(x.flatten(1))
