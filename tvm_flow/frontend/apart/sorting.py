"""Sorting by ranks: how many elements come before each. It takes the square of the number of
elements in comparisons, and nothing but loops: TVM sorts in its own runtime, which bundles have
not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten

#: Elements along the axis beyond which that would take too long.
MOST = 20_000


@apart(aten.sort.default)
def sort(x: Tensor, dim: int = -1, descending: bool = False) -> Any:
    if x.ndim == 0:
        return x, x.new_zeros((), dtype=torch.int64)
    if x.shape[dim] > MOST:
        return NotImplemented
    places = _order(x, dim, descending)
    return torch.gather(x, dim, places), places


@apart(aten.sort.stable)
def sort_stable(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    return sort(x, dim, descending)


@apart(aten.argsort.default)
def argsort(x: Tensor, dim: int = -1, descending: bool = False) -> Any:
    made = sort(x, dim, descending)
    return made if made is NotImplemented else made[1]


@apart(aten.topk.default)
def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    made = sort(x, dim, largest)
    if made is NotImplemented or x.ndim == 0:
        return made
    return made[0].narrow(dim, 0, k), made[1].narrow(dim, 0, k)


@apart(aten.kthvalue.default)
def kth(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    made = sort(x, dim)
    if made is NotImplemented or x.ndim == 0:
        return made
    parts = [part.narrow(dim, k - 1, 1) for part in made]
    return tuple(part if keepdim else part.squeeze(dim) for part in parts)


@apart(aten.median.dim)
def median_along(x: Tensor, dim: int, keepdim: bool = False) -> Any:
    """The lower of two; NaN where there is one, which is sorted to the end."""
    if x.ndim == 0:
        return x, x.new_zeros((), dtype=torch.int64)
    made = sort(x, dim)
    if made is NotImplemented:
        return made
    values, places = made
    size = x.shape[dim]
    middle, last = values.narrow(dim, (size - 1) // 2, 1), values.narrow(dim, size - 1, 1)
    place = places.narrow(dim, (size - 1) // 2, 1)
    if x.is_floating_point():
        unknown = torch.isnan(last)
        first = torch.isnan(x).to(torch.int32).argmax(dim, True)
        middle, place = torch.where(unknown, last, middle), torch.where(unknown, first, place)
    parts = (middle, place)
    return parts if keepdim else tuple(part.squeeze(dim) for part in parts)


@apart(aten.median.default)
def median(x: Tensor) -> Any:
    made = median_along(x.reshape(-1), 0)
    return made if made is NotImplemented else made[0]


@apart(aten.searchsorted.Tensor)
def searchsorted(
    boundaries: Tensor, x: Tensor, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Any:  # fmt: skip
    """How many boundaries are in front of a value; NaN is behind all."""
    if sorter is not None:
        boundaries = torch.gather(boundaries, -1, sorter)
    edges, value = boundaries.unsqueeze(-2), x.unsqueeze(-1)
    if boundaries.ndim == 1:
        edges = boundaries
    before = edges <= value if right or side == "right" else edges < value
    if x.is_floating_point():
        before = before | torch.isnan(value)
    return before.to(torch.int64).sum(-1).to(torch.int32 if out_int32 else torch.int64)


@apart(aten.searchsorted.Scalar)
def searchsorted_number(boundaries: Tensor, x: float, **how: Any) -> Any:
    return searchsorted(boundaries, torch.full((), x, dtype=boundaries.dtype), **how)


@apart(aten.bucketize.Tensor)
def bucketize(
    x: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Any:
    return searchsorted(boundaries, x, out_int32=out_int32, right=right)


def _order(x: Tensor, dim: int, descending: bool) -> Tensor:
    """The places of elements in their order; equal ones stay in theirs, and NaN is the largest."""
    line = x.transpose(dim, -1)
    order = torch.arange(line.shape[-1])
    here, other = line.unsqueeze(-1), line.unsqueeze(-2)
    before = other > here if descending else other < here
    same = other == here
    if x.is_floating_point():
        a, b = torch.isnan(here), torch.isnan(other)
        before = before | (b & ~a if descending else a & ~b)
        same = same | (a & b)
    earlier = order.unsqueeze(0) < order.unsqueeze(1)
    rank = (before | (same & earlier)).to(torch.int64).sum(-1)
    here = rank.unsqueeze(-2) == order.unsqueeze(-1)
    places = torch.where(here, order, 0).sum(-1)
    return places.transpose(dim, -1)
