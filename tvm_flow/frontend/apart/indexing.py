"""Views, and reading at places that indices say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten


@apart(aten.squeeze.dims, aten.squeeze.dim, aten.squeeze.default)
def squeeze(x: Tensor, dim: Any = None) -> Tensor:
    """TVM refuses axes that are longer than one, which PyTorch leaves."""
    given = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = {d % x.ndim for d in given} if x.ndim else set()
    shape = [size for d, size in enumerate(x.shape) if d not in dims or size != 1]
    return aten.view.default(x, shape)


@apart(aten.take.default)
def take(x: Tensor, index: Tensor) -> Tensor:
    flat, places = x.reshape(-1), index.reshape(-1)
    places = torch.where(places < 0, places + flat.shape[0], places)
    return torch.index_select(flat, 0, places).reshape(index.shape)


@apart(aten.as_strided.default)
def as_strided(x: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """Of a tensor that lies in order: places in memory are indices."""
    if not x.is_contiguous():
        return NotImplemented
    place = torch.full((), storage_offset or 0, dtype=torch.int64)
    for axis, (n, step) in enumerate(zip(size, stride, strict=True)):
        line = torch.arange(n) * step
        place = place + line.reshape([n] + [1] * (len(size) - axis - 1))
    flat = x.reshape(-1)
    return torch.index_select(flat, 0, place.reshape(-1)).reshape(list(size))


@apart(aten.diagonal.default, aten.diagonal_copy.default)
def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    first, second = dim1 % x.ndim, dim2 % x.ndim
    rest = [axis for axis in range(x.ndim) if axis not in (first, second)]
    rows, columns = x.shape[first], x.shape[second]
    length = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    start = offset if offset >= 0 else -offset * columns
    flat = x.permute([*rest, first, second]).reshape([x.shape[a] for a in rest] + [rows * columns])
    return torch.index_select(flat, -1, torch.arange(length) * (columns + 1) + start)
