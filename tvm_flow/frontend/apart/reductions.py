"""Reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.frontend.apart.registry import apart, aten


@apart(aten.any.default)
def any_of_all(x: Tensor) -> Tensor:
    return any_of(x, None, False)


@apart(aten.any.dim, aten.any.dims)
def any_of(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    dims = _dims(x, dim)
    counted = (x != 0).to(torch.int32)
    kind = torch.uint8 if x.dtype is torch.uint8 else torch.bool
    return (counted.amax(dims, keepdim) if dims else counted).to(torch.bool).to(kind)


@apart(aten.sum.dim_IntList, aten.mean.dim)
def of_scalar(x: Tensor, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return NotImplemented if x.ndim else _widened(x, dtype).clone()


@apart(aten.max.dim)
def max_and_place(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return x.amax(dim, keepdim), x.argmax(dim, keepdim)


@apart(aten.min.dim)
def min_and_place(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    return x.amin(dim, keepdim), x.argmin(dim, keepdim)


@apart(aten.argmax.default, aten.argmin.default)
def place_in_scalar(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    return x.new_zeros((), dtype=torch.int64) if x.ndim == 0 else NotImplemented


@apart(aten.max.default)
def max_of_all(x: Tensor) -> Tensor:
    return x.amax()


@apart(aten.min.default)
def min_of_all(x: Tensor) -> Tensor:
    return x.amin()


@apart(aten.var.correction)
def variance(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return variance_and_mean(x, dim, correction=correction, keepdim=keepdim)[0]


@apart(aten.var_mean.correction)
def variance_and_mean(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """PyTorch's is one operator of two results."""
    dims = _dims(x, dim)
    count = math.prod(x.shape[d] for d in dims)
    divisor = max(0.0, count - (1 if correction is None else correction))
    if not dims:
        return (x - x) / divisor if divisor else x * math.nan, x
    mean = x.mean(dims, True)
    centred = x - mean
    total = (centred * centred).sum(dims, keepdim)
    made = total / divisor if divisor else total / torch.zeros_like(total)
    return made, mean if keepdim else mean.reshape(total.shape)


@apart(aten.std.correction)
def deviation(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return torch.sqrt(variance(x, dim, correction=correction, keepdim=keepdim))


@apart(aten.linalg_vector_norm.default)
def vector_norm(
    x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    return norm(x, ord, _dims(x, dim), keepdim)


def norm(x: Tensor, order: float, dims: list[int], keepdim: bool) -> Tensor:
    size = x.abs()
    if not dims:
        return (x != 0).to(x.dtype) if order == 0 else size
    if math.isinf(order):
        return size.amax(dims, keepdim) if order > 0 else size.amin(dims, keepdim)
    if order == 0:
        return (x != 0).to(x.dtype).sum(dims, keepdim)
    if order == 2:
        return torch.sqrt((x * x).sum(dims, keepdim))
    return (
        size.sum(dims, keepdim) if order == 1 else (size**order).sum(dims, keepdim) ** (1 / order)
    )


@apart(aten.logcumsumexp.default)
def log_of_running_sum(x: Tensor, dim: int) -> Tensor:
    if x.ndim == 0:
        return x
    seen = _seen(x, dim, -math.inf)
    return torch.logsumexp(seen, -1).transpose(dim, -1)


def _seen(x: Tensor, dim: int, rest: float) -> Tensor:
    """``[…, i, j]``: element ``j`` along ``dim`` where it is not behind ``i``, else ``rest``."""
    n = x.shape[dim]
    order = torch.arange(n)
    behind = order.unsqueeze(0) > order.unsqueeze(1)
    return torch.where(behind, rest, x.transpose(dim, -1).unsqueeze(-2))


#: Elements along an axis up to which each is summed anew.
_SHORT = 64


@apart(aten.cumsum.default)
def running_sum(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return _running_total(_widened(x, dtype), dim, 0, torch.sum, torch.add)


@apart(aten.cumprod.default)
def running_product(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    return _running_total(_widened(x, dtype), dim, 1, torch.prod, torch.mul)


def _widened(x: Tensor, dtype: Any) -> Tensor:
    kind = dtype or (x.dtype if x.is_floating_point() else torch.int64)
    return x.to(kind)


def _running_total(x: Tensor, dim: int, neutral: float, total: Any, join: Any) -> Tensor:
    """Of blocks, and of what the blocks before come to: an axis of n elements takes n times its
    root of additions."""
    if x.ndim == 0:
        return x.clone()
    line = x.transpose(dim, -1)
    n = line.shape[-1]
    if n <= _SHORT:
        return total(_seen(line, -1, neutral), -1).transpose(dim, -1)
    length = math.isqrt(n - 1) + 1
    count = -(-n // length)
    padded = F.pad(line, [0, count * length - n], value=neutral)
    blocks = padded.reshape([*line.shape[:-1], count, length])
    within = _running_total(blocks, -1, neutral, total, join)
    through = _running_total(within.narrow(-1, length - 1, 1).squeeze(-1), -1, neutral, total, join)
    before = F.pad(through.narrow(-1, 0, count - 1), [1, 0], value=neutral)
    made = join(within, before.unsqueeze(-1)).reshape([*line.shape[:-1], count * length])
    return made.narrow(-1, 0, n).transpose(dim, -1)


@apart(aten.cummax.default)
def running_max(x: Tensor, dim: int) -> Any:
    if x.ndim == 0:
        return x, x.new_zeros((), dtype=torch.int64)
    return _running(x, dim, -math.inf) if x.is_floating_point() else NotImplemented


@apart(aten.cummin.default)
def running_min(x: Tensor, dim: int) -> Any:
    if x.ndim == 0:
        return x, x.new_zeros((), dtype=torch.int64)
    if not x.is_floating_point():
        return NotImplemented
    values, places = _running(-x, dim, -math.inf)
    return -values, places


def _running(x: Tensor, dim: int, rest: float) -> tuple[Tensor, Tensor]:
    """The last place of several that hold the same."""
    seen = _seen(x, dim, rest)
    values = seen.amax(-1)
    order = torch.arange(x.shape[dim])
    behind = order.unsqueeze(0) > order.unsqueeze(1)
    here = (seen == values.unsqueeze(-1)) & ~behind
    places = torch.where(here, order, -1).amax(-1)
    return values.transpose(dim, -1), places.transpose(dim, -1)


def _dims(x: Tensor, dim: Any) -> list[int]:
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return list(range(x.ndim))
    given = [dim] if isinstance(dim, int) else dim
    return sorted({d % x.ndim for d in given}) if x.ndim else []


@apart(aten._softmax.default)
def softmax(x: Tensor, dim: int, half_to_float: bool) -> Any:
    return NotImplemented if x.ndim else torch.exp(x - x)


@apart(aten._log_softmax.default)
def log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Any:
    return NotImplemented if x.ndim else x - x
