"""The zoo: the networks tvm-flow is made for, in plain PyTorch.

Structure and parameter names follow the published implementations (torchvision's, and the
authors' for FasterNet), so that their checkpoints load with ``load_state_dict``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from tvm_flow.models.fasternet import VARIANTS, fasternet
from tvm_flow.models.mobilenet_v2 import MobileNetV2
from tvm_flow.models.mobilenet_v3 import mobilenet_v3
from tvm_flow.models.resnet import ResNet18, partial_conv3x3
from tvm_flow.models.shufflenet import WIDTHS, shufflenet_v2
from tvm_flow.models.stats import count_macs, count_parameters
from tvm_flow.models.weights import materialise
from tvm_flow.support.errors import UsageError

_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    **{f"fasternet_{variant}": partial(fasternet, variant) for variant in VARIANTS},
    **{f"shufflenet_v2_{variant}": partial(shufflenet_v2, variant) for variant in WIDTHS},
    "resnet18": ResNet18,
    "pconv_resnet18": partial(ResNet18, conv3x3=partial_conv3x3),
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_small": partial(mobilenet_v3, "small"),
    "mobilenet_v3_large": partial(mobilenet_v3, "large"),
}

NAMES: tuple[str, ...] = tuple(_BUILDERS)
"""Every name :func:`create` knows."""

__all__ = ["NAMES", "count_macs", "count_parameters", "create", "outline"]


def create(name: str, *, num_classes: int = 1000, seed: int = 0) -> nn.Module:
    """A network of the zoo in eval mode, fp32, with random weights that depend on ``seed`` only.

    Takes (N, 3, H, W), usually 224 x 224, and gives (N, num_classes) logits of order 1. The
    global random state is left alone. FasterNet and PConv-ResNet18 spell PConv with split and
    concat; :func:`tvm_flow.models.pconv.use_pconv_forward` switches to slice assignment.

    Raises ``UsageError`` for an unknown name or fewer than one class.
    """
    build = _builder(name)
    if num_classes < 1:
        raise UsageError(f"A model cannot have {num_classes} classes", fix="ask for at least 1")
    return materialise(partial(build, num_classes), seed)


def outline(name: str, *, num_classes: int = 1000) -> nn.Module:
    """The same network without weights (on PyTorch's meta device): enough to count with, at once.

    Raises ``UsageError`` for an unknown name.
    """
    with torch.device("meta"):
        return _builder(name)(num_classes).eval()


def _builder(name: str) -> Callable[[int], nn.Module]:
    if name not in _BUILDERS:
        close = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
        raise UsageError(
            f"There is no model {name!r} in the zoo",
            why=f"close names are {', '.join(close)}" if close else "",
            fix=f"choose one of {', '.join(NAMES)}",
        )
    return _BUILDERS[name]
