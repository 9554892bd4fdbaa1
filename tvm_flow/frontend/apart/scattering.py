"""Writing to places that indices say."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten

#: Comparisons of an index with a place beyond which that would take too long.
MOST = 1 << 28


@apart(aten.scatter.src)
def scatter(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    return _written("last", x, dim, index, src)


@apart(aten.scatter.value)
def scatter_value(x: Tensor, dim: int, index: Tensor, value: float) -> Any:
    return scatter(x, dim, index, torch.full(index.shape, value, dtype=x.dtype))


@apart(aten.scatter_add.default)
def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    return _written("sum", x, dim, index, src)


@apart(aten.scatter.reduce)
def scatter_reduce(x: Tensor, dim: int, index: Tensor, src: Tensor, *, reduce: str) -> Tensor:
    kind = {"add": "sum", "multiply": "prod"}[reduce]
    return torch.scatter_reduce(x, dim, index, src, kind)


@apart(aten.scatter.value_reduce)
def scatter_value_reduce(
    x: Tensor, dim: int, index: Tensor, value: float, *, reduce: str
) -> Tensor:
    return scatter_reduce(x, dim, index, torch.full(index.shape, value, dtype=x.dtype),
                          reduce=reduce)  # fmt: skip


_NEUTRAL = {"sum": 0.0, "prod": 1.0, "amax": -math.inf, "amin": math.inf, "mean": 0.0}


@apart(aten.scatter_reduce.two)
def scatter_reduced(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    if not include_self:
        x = scatter_any(x, dim, index, torch.full(index.shape, _NEUTRAL[reduce], dtype=x.dtype))
    if reduce != "mean":
        return _written(reduce, x, dim, index, src)
    start = torch.ones_like(x)
    if not include_self:
        start = scatter_any(start, dim, index, torch.zeros(index.shape, dtype=x.dtype))
    count = torch.scatter_add(start, dim, index, torch.ones(index.shape, dtype=x.dtype))
    return torch.scatter_add(x, dim, index, src) / torch.clamp(count, min=1)


def scatter_any(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    made: Tensor = aten.scatter.src(x, dim, index, src)
    return made


def _written(kind: str, x: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    """What has no index is set aside, and values without an index are left away; scalars are lines
    of one element."""
    if x.ndim == 0:
        return _along(kind, x.reshape(1), index.reshape(1), src.reshape(1)).reshape(())
    axis = dim % x.ndim
    if index.numel() * x.shape[axis] > MOST:
        return NotImplemented
    for d in range(x.ndim):
        src = src.narrow(d, 0, index.shape[d])
    partial = [d for d in range(x.ndim) if d != axis and index.shape[d] < x.shape[d]]
    part = x
    for d in partial:
        part = part.narrow(d, 0, index.shape[d])
    lines = [tensor.transpose(axis, -1) for tensor in (part, index, src)]
    return _put_back(x, _along(kind, *lines).transpose(axis, -1), partial)


def _along(kind: str, x: Tensor, index: Tensor, src: Tensor) -> Tensor:
    """Along the last axis, by comparing every index with every place: it vectorises, and what TVM
    makes of a scatter runs in its own runtime alone. Of several values the last one stays."""
    here = index.unsqueeze(-2) == torch.arange(x.shape[-1]).unsqueeze(-1)
    values = src.unsqueeze(-2)
    if kind == "sum":
        return x + torch.where(here, values, 0).sum(-1).to(x.dtype)
    if kind == "prod":
        return x * torch.where(here, values, 1).prod(-1)
    if kind == "amax":
        return torch.maximum(x, torch.where(here, values, -math.inf).amax(-1))
    if kind == "amin":
        return torch.minimum(x, torch.where(here, values, math.inf).amin(-1))
    last = torch.where(here, torch.arange(src.shape[-1]), -1).amax(-1)
    chosen = torch.gather(src, -1, torch.clamp(last, min=0))
    return torch.where(last >= 0, chosen, x)


def _put_back(x: Tensor, part: Tensor, dims: list[int]) -> Tensor:
    if not dims:
        return part
    d, size = dims[0], part.shape[dims[0]]
    inner = _put_back(x.narrow(d, 0, size), part, dims[1:])
    return torch.slice_scatter(x, inner, d, 0, size)


@apart(aten.gather.default)
def gather(x: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Any:
    """Of scalars, and where there are fewer indices off the axis than elements."""
    if x.ndim == 0:
        return x.expand(index.shape)
    if index.ndim == 0:
        return aten.gather.default(x, dim, index.reshape(1)).reshape(())
    axis = dim % x.ndim
    partial = [d for d in range(x.ndim) if d != axis and index.shape[d] < x.shape[d]]
    if not partial:
        return NotImplemented
    for d in partial:
        x = x.narrow(d, 0, index.shape[d])
    return aten.gather.default(x, dim, index)


@apart(aten.index_put.default, aten._unsafe_index_put.default)
def index_put(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """A scatter of rows: indices into several axes are joined into one."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if any(index.dtype in (torch.bool, torch.uint8) for _, index in given):
        return _masked(x, given, values, accumulate)
    axes = [axis for axis, _ in given]
    common = torch.broadcast_shapes(*(index.shape for _, index in given))
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    sizes, kept = [x.shape[a] for a in axes], [x.shape[a] for a in rest]
    adjacent = all(b - a == 1 for a, b in pairwise(axes))
    front = axes[0] if adjacent else 0
    updates = values.expand([*kept[:front], *common, *kept[front:]])
    moved = list(range(front, front + len(common)))
    updates = updates.permute(
        [*moved, *(a for a in range(updates.ndim) if a not in moved)]
    ).reshape(math.prod(common), math.prod(kept))
    place = _joined([index.expand(common) for _, index in given], sizes).reshape(-1, 1)
    rows = x.permute([*axes, *rest]).reshape(math.prod(sizes), math.prod(kept))
    write = torch.scatter_add if accumulate else scatter_any
    made = write(rows, 0, place.expand(updates.shape), updates).reshape([*sizes, *kept])
    order = [*axes, *rest]
    return made.permute([order.index(a) for a in range(x.ndim)])


def _joined(indices: list[Tensor], sizes: list[int]) -> Tensor:
    total: Tensor | None = None
    for index, size in zip(indices, sizes, strict=True):
        place = index.to(torch.int64)
        place = torch.where(place < 0, place + size, place)
        total = place if total is None else total * size + place
    assert total is not None
    return total


def _masked(x: Tensor, given: Any, values: Tensor, accumulate: bool) -> Any:
    """One value for all elements that one mask selects."""
    if len(given) != 1 or values.numel() != 1 or accumulate:
        return NotImplemented
    axis, mask = given[0]
    shape = [1] * axis + list(mask.shape) + [1] * (x.ndim - axis - mask.ndim)
    return torch.where(mask.to(torch.bool).reshape(shape), values.reshape(()), x)


@apart(aten.masked_scatter.default)
def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """How many are selected before an element says which value is its own."""
    mask, x = torch.broadcast_tensors(mask, x)
    number = torch.cumsum(mask.reshape(-1).to(torch.int64), 0) - 1
    place = torch.clamp(number, 0, source.numel() - 1)
    chosen = torch.index_select(source.reshape(-1), 0, place).reshape(x.shape)
    return torch.where(mask, chosen, x)
