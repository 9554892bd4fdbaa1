"""Partial convolution (PConv) and the FasterNet block around it (arXiv 2303.03667).

PConv runs a 3x3 convolution over the first ``dim // n_div`` channels and passes the others on
untouched. It can be spelt in PyTorch in two ways, which compute the same thing and look quite
different to a compiler; the zoo offers both.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from tvm_flow.models.layers import Act, DropPath, relu
from tvm_flow.support.errors import UsageError

PConvForward = Literal["split_cat", "slicing"]


class PConv(nn.Module):
    """3x3 convolution (no bias) over the first ``dim // n_div`` of ``dim`` channels.

    Parameters
    ----------
    dim: channels in and out.
    n_div: one n-th of the channels is convolved; the paper uses 4.
    forward: ``"split_cat"`` splits, convolves and concatenates (for training and inference);
        ``"slicing"`` clones the input and assigns to a slice of the clone (inference only: the
        clone keeps the input intact for a residual connection).

    Shapes: (N, dim, H, W) -> (N, dim, H, W).

    Raises ``UsageError`` for an unknown spelling or when no channel would be convolved.
    """

    def __init__(self, dim: int, n_div: int = 4, forward: PConvForward = "split_cat") -> None:
        super().__init__()
        if n_div < 1 or dim < n_div:
            raise UsageError(
                f"PConv cannot convolve 1/{n_div} of {dim} channels",
                why="that is not at least one whole channel",
                fix=f"choose 1 <= n_div <= {dim}",
            )
        self.dim_conv = dim // n_div
        self.dim_untouched = dim - self.dim_conv
        self.partial_conv3 = nn.Conv2d(self.dim_conv, self.dim_conv, 3, padding=1, bias=False)
        self.use_forward(forward)

    def use_forward(self, forward: PConvForward) -> None:
        """Switch the spelling. Raises ``UsageError`` for an unknown one."""
        if forward not in get_args(PConvForward):
            raise UsageError(
                f"PConv has no spelling {forward!r}",
                fix=f"choose one of {', '.join(get_args(PConvForward))}",
            )
        self.spelling = forward

    def forward(self, x: Tensor) -> Tensor:
        if self.spelling == "slicing":
            y = x.clone()
            y[:, : self.dim_conv] = self.partial_conv3(x[:, : self.dim_conv])
            return y
        head, tail = torch.split(x, [self.dim_conv, self.dim_untouched], dim=1)
        return torch.cat((self.partial_conv3(head), tail), dim=1)

    def extra_repr(self) -> str:
        return f"dim={self.dim_conv}+{self.dim_untouched}, forward={self.spelling!r}"


class PConvPointwise(nn.Module):
    """PConv followed by a 1x1 convolution: stands in for a dense 3x3 of the same width.

    Shapes: (N, dim, H, W) -> (N, dim, H, W). No bias: the batch norm of the layer it replaces
    follows.
    """

    def __init__(self, dim: int, n_div: int = 4, forward: PConvForward = "split_cat") -> None:
        super().__init__()
        self.pconv = PConv(dim, n_div, forward)
        self.pointwise = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.pconv(x))


class PConvBottleneck(nn.Module):
    """The FasterNet block: ``x + conv1x1(act(bn(conv1x1(pconv(x)))))``.

    Parameters
    ----------
    dim: channels in and out; the hidden layer has ``int(dim * mlp_ratio)``.
    act: makes the activation module.
    drop_path: probability of dropping the branch in training.

    Shapes: (N, dim, H, W) -> (N, dim, H, W). Nothing follows the second 1x1 but the addition.
    Raises ``UsageError`` as :class:`PConv` does.
    """

    def __init__(
        self,
        dim: int,
        *,
        n_div: int = 4,
        mlp_ratio: float = 2.0,
        act: Act = relu,
        drop_path: float = 0.0,
        forward: PConvForward = "split_cat",
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.spatial_mixing = PConv(dim, n_div, forward)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            act(),
            nn.Conv2d(hidden, dim, 1, bias=False),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp(self.spatial_mixing(x)))


def use_pconv_forward(model: nn.Module, forward: PConvForward) -> nn.Module:
    """Switch every PConv inside ``model`` to one spelling; returns ``model``.

    Raises ``UsageError`` for an unknown spelling.
    """
    for module in model.modules():
        if isinstance(module, PConv):
            module.use_forward(forward)
    return model
