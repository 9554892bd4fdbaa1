"""Products and distances."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.frontend.apart.reductions import norm
from tvm_flow.frontend.apart.registry import apart, aten


@apart(aten.addbmm.default)
def addbmm(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    made = torch.bmm(a, b).sum(0)
    return (made if alpha == 1 else made * alpha) + (x if beta == 1 else x * beta)


@apart(aten.addmm.default, aten.baddbmm.default)
def plus_nothing(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """A product of matrices whose common axis has no elements is zero."""
    if a.numel() and b.numel():
        return NotImplemented
    shape = [*a.shape[:-1], b.shape[-1]]
    return torch.zeros(shape, dtype=x.dtype) if beta == 0 else (x * beta).expand(shape)


@apart(aten._cdist_forward.default)
def distances(a: Tensor, b: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    difference = a.unsqueeze(-2) - b.unsqueeze(-3)
    return norm(difference, p, [difference.ndim - 1], False)


@apart(aten._pdist_forward.default)
def distances_within(x: Tensor, p: float = 2) -> Tensor:
    rows, columns = torch.triu_indices(x.shape[0], x.shape[0], 1)
    return norm(torch.index_select(x, 0, rows) - torch.index_select(x, 0, columns), p, [1], False)


@apart(aten.dot.default, aten.vdot.default)
def dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(0)


@apart(aten._trilinear.default)
def trilinear(
    a: Tensor, b: Tensor, c: Tensor, expand1: Any, expand2: Any, expand3: Any, sumdim: Any,
    unroll_dim: int = 1,
) -> Tensor:  # fmt: skip
    for axis in expand1:
        a = a.unsqueeze(axis)
    for axis in expand2:
        b = b.unsqueeze(axis)
    for axis in expand3:
        c = c.unsqueeze(axis)
    product = a * b * c
    return product.sum(list(sumdim)) if sumdim else product


@apart(aten.convolution.default)
def transposed_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    """One of volumes, or with more padding of the output than TVM's takes, is a plain one, with the
    window turned round, of a tensor with zeros between its elements."""
    if not transposed:
        return NotImplemented
    rank = x.ndim - 2
    stride, padding, dilation, output_padding = (
        list(v) * rank if len(v) == 1 else list(v)
        for v in (stride, padding, dilation, output_padding)
    )
    beyond = any(more >= step for more, step in zip(output_padding, stride, strict=True))
    if rank < 3 and not beyond:
        return NotImplemented
    channels = x.shape[1]
    for axis, step in enumerate(stride, 2):
        size = x.shape[axis]
        spread = x.unsqueeze(axis + 1)
        zeros = torch.zeros_like(spread)
        spread = torch.cat([spread, *[zeros] * (step - 1)], axis + 1)
        shape = [*x.shape[:axis], size * step, *x.shape[axis + 1 :]]
        x = spread.reshape(shape).narrow(axis, 0, (size - 1) * step + 1)
    margins: list[int] = []
    for axis in reversed(range(rank)):
        reach = dilation[axis] * (weight.shape[2 + axis] - 1) - padding[axis]
        margins += [reach, reach + output_padding[axis]]
    for axis in range(rank):  # more padding than the window reaches cuts the tensor
        before, after = (max(0, -margin) for margin in margins[2 * (rank - 1 - axis) :][:2])
        x = x.narrow(2 + axis, before, x.shape[2 + axis] - before - after)
    margins = [max(0, margin) for margin in margins]
    per_group = weight.shape[1]
    turned = weight.flip(list(range(2, x.ndim))).reshape(groups, channels // groups, per_group, -1)
    turned = turned.transpose(1, 2).reshape(groups * per_group, channels // groups,
                                            *weight.shape[2:])  # fmt: skip
    return aten.convolution.default(
        F.pad(x, margins), turned, bias, [1] * rank, [0] * rank, dilation, False, [0] * rank, groups
    )
