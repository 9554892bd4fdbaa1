"""FasterNet (arXiv 2303.03667), table 9 for the variants. Parameter names are those of the
authors' checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tvm_flow.models.layers import Act, relu
from tvm_flow.models.pconv import PConvBottleneck, PConvForward


@dataclass(frozen=True)
class Variant:
    """What differs between the published sizes; ``drop_path`` is the rate of the last block."""

    dim: int
    depths: tuple[int, ...]
    act: Act
    drop_path: float


VARIANTS = {
    "t0": Variant(40, (1, 2, 8, 2), nn.GELU, 0.0),
    "t1": Variant(64, (1, 2, 8, 2), nn.GELU, 0.02),
    "t2": Variant(96, (1, 2, 8, 2), relu, 0.05),
    "s": Variant(128, (1, 2, 13, 2), relu, 0.1),
    "m": Variant(144, (3, 4, 18, 3), relu, 0.2),
    "l": Variant(192, (3, 4, 18, 3), relu, 0.3),
}


class FasterNet(nn.Module):
    """Stem, stages of :class:`PConvBottleneck` with a merging layer between each two, head.

    Parameters
    ----------
    dim: channels of the first stage; every further stage has twice as many.
    depths: blocks per stage.
    act: makes the activation modules.
    in_channels, num_classes, feature_dim: widths of the input, the output and the layer before.
    n_div, forward: see :class:`~tvm_flow.models.pconv.PConv`.
    drop_path: stochastic depth of the last block in training, rising linearly from 0.

    Shapes: (N, in_channels, H, W) -> (N, num_classes), where H and W are at least
    4 * 2 ** (len(depths) - 1) pixels (32 for four stages); other sizes are cropped by the
    strided layers, which do not pad.
    """

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        *,
        act: Act = relu,
        in_channels: int = 3,
        num_classes: int = 1000,
        feature_dim: int = 1280,
        n_div: int = 4,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.0,
        forward: PConvForward = "split_cat",
    ) -> None:
        super().__init__()
        rates = iter(torch.linspace(0.0, drop_path, sum(depths), device="cpu").tolist())
        self.patch_embed = _strided("proj", in_channels, dim, 4)
        stages: list[nn.Module] = []
        for index, depth in enumerate(depths):
            width = dim * 2**index
            if index > 0:
                stages.append(_strided("reduction", width // 2, width, 2))
            blocks = [
                PConvBottleneck(
                    width,
                    n_div=n_div,
                    mlp_ratio=mlp_ratio,
                    act=act,
                    drop_path=next(rates),
                    forward=forward,
                )
                for _ in range(depth)
            ]
            stages.append(nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks))))
        self.stages = nn.Sequential(*stages)
        self.avgpool_pre_head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, feature_dim, 1, bias=False), act()
        )
        self.head = nn.Linear(feature_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.patch_embed(x))
        return self.head(torch.flatten(self.avgpool_pre_head(x), 1))


def _strided(name: str, inputs: int, outputs: int, size: int) -> nn.Sequential:
    """Convolution over non-overlapping ``size`` x ``size`` patches (no bias), then batch norm."""
    conv = nn.Conv2d(inputs, outputs, size, stride=size, bias=False)
    return nn.Sequential(OrderedDict([(name, conv), ("norm", nn.BatchNorm2d(outputs))]))


def fasternet(variant: str, num_classes: int, forward: PConvForward = "split_cat") -> FasterNet:
    """A published size: t0, t1, t2, s, m or l. Raises ``KeyError`` for any other."""
    size = VARIANTS[variant]
    return FasterNet(
        size.dim,
        size.depths,
        act=size.act,
        num_classes=num_classes,
        drop_path=size.drop_path,
        forward=forward,
    )
