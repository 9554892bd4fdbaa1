"""What is measured: the zoo and single operators, each with its input shape.

Every environment that has PyTorch builds a network from its name, with the same weights, so that
nothing but names crosses between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tvm_flow import models
from tvm_flow.models.fasternet import VARIANTS
from tvm_flow.models.layers import conv_bn, relu
from tvm_flow.models.pconv import PConvBottleneck, PConvPointwise
from tvm_flow.models.shufflenet import WIDTHS, ShuffleUnit
from tvm_flow.models.stats import count_macs, count_parameters
from tvm_flow.support.errors import UsageError

Shape = tuple[int, ...]
Make = Callable[[], nn.Module]
IMAGE: Shape = (1, 3, 224, 224)
SEED = 0


@dataclass(frozen=True)
class Case:
    """A network with the shape of its one fp32 input (N, C, H, W)."""

    name: str
    shape: Shape
    make: Make

    def module(self) -> nn.Module:
        """The network in eval mode; the same weights each time."""
        return self.make().eval()

    def input(self) -> NDArray[np.float32]:
        """Standard normal, the same each time."""
        return np.random.default_rng(SEED).standard_normal(self.shape, np.float32)


@dataclass(frozen=True)
class Cost:
    """Of one run: multiply-accumulates of the direct algorithm, and the bytes that cross memory at
    least: input, weights (fp32) and output once each."""

    macs: int
    bytes: int


def cost(case: Case) -> Cost:
    """Counted on shapes only, nothing is computed."""
    module = case.module()
    with torch.no_grad():
        output = module(torch.zeros(case.shape))
    elements = int(np.prod(case.shape)) + count_parameters(module) + output.numel()
    return Cost(count_macs(module, case.shape), 4 * elements)


def _seeded(make: Make) -> nn.Module:
    """An operator with PyTorch's own initialisation and batch norms that are not the identity."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        module = make()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0.0, 0.1)
    return module


def _operator(name: str, channels: int, size: int, make: Make) -> Case:
    return Case(f"{name}_{size}", (1, channels, size, size), partial(_seeded, make))


def _fasternet_blocks(variant: str) -> list[Case]:
    """One block of every stage at 224 x 224: 56, 28, 14 and 7 pixels."""
    size = VARIANTS[variant]
    return [
        _operator(
            f"fasternet_{variant}_block",
            size.dim * 2**stage,
            56 >> stage,
            partial(PConvBottleneck, size.dim * 2**stage, act=size.act),
        )
        for stage in range(len(size.depths))
    ]


def _shuffle_units(variant: str) -> list[Case]:
    """The unit that halves the size and the one that keeps it, of every stage at 224 x 224."""
    *widths, _ = WIDTHS[variant]
    cases, inputs, size = [], 24, 56
    for width in widths:
        down = partial(ShuffleUnit, inputs, width, 2)
        cases.append(_operator(f"shuffle_{variant}_down", inputs, size, down))
        size //= 2
        keep = partial(ShuffleUnit, width, width, 1)
        cases.append(_operator(f"shuffle_{variant}_unit", width, size, keep))
        inputs = width
    return cases


def _convolutions() -> list[Case]:
    """Depthwise, 1x1 and 3x3 layers (with BN and ReLU) as the zoo has them."""
    depthwise = [(58, 28, 1), (116, 14, 1), (144, 56, 2), (384, 14, 1), (960, 7, 1)]
    pointwise = [(40, 80, 56), (116, 116, 28), (128, 256, 56), (320, 640, 7), (384, 64, 14)]
    dense = [(64, 64, 56), (128, 128, 28), (256, 256, 14), (512, 512, 7)]
    cases = [
        _operator(
            f"depthwise3x3_s{s}_{c}",
            c,
            size,
            partial(conv_bn, c, c, 3, stride=s, groups=c, act=relu),
        )
        for c, size, s in depthwise
    ]
    cases += [
        _operator(f"conv1x1_{i}_{o}", i, size, partial(conv_bn, i, o, 1, act=relu))
        for i, o, size in pointwise
    ]
    return cases + [
        _operator(f"conv3x3_{i}_{o}", i, size, partial(conv_bn, i, o, 3, act=relu))
        for i, o, size in dense
    ]


_ZOO = [Case(name, IMAGE, partial(models.create, name)) for name in models.NAMES]
_OPERATORS = [
    _operator("pconv_pointwise_256", 256, 56, partial(PConvPointwise, 256)),
    *_fasternet_blocks("t0"),
    *_fasternet_blocks("s"),
    *_shuffle_units("x1_0"),
    *_convolutions(),
]
_CASES = {case.name: case for case in [*_ZOO, *_OPERATORS]}

#: what the issue of being faster than every engine is about; M and L take long and say no more
ZOO: tuple[str, ...] = tuple(
    name for name in models.NAMES if name not in ("fasternet_m", "fasternet_l")
)
OPERATORS: tuple[str, ...] = tuple(case.name for case in _OPERATORS)


def case(name: str) -> Case:
    """The network of that name. Raises :class:`UsageError` for an unknown one."""
    if name not in _CASES:
        raise UsageError(
            f"There is nothing called {name!r} to measure", fix=f"choose of {', '.join(_CASES)}"
        )
    return _CASES[name]
