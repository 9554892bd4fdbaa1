"""Operators of two tensors of different types, which PyTorch brings to one, and of booleans."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten


def _promoted(operator: Any, a: Any, b: Any) -> Any:
    """In the type that both have in common, where they have not."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)) or a.dtype is b.dtype:
        return NotImplemented
    kind = torch.result_type(a, b)
    return operator(a.to(kind), b.to(kind))


for _name in ("maximum", "minimum"):
    apart(getattr(aten, _name).default)(partial(_promoted, getattr(torch, _name)))
for _name in ("lt", "le", "gt", "ge", "remainder", "fmod"):
    apart(getattr(aten, _name).Tensor)(partial(_promoted, getattr(torch, _name)))
apart(aten.pow.Tensor_Tensor)(partial(_promoted, torch.pow))


@apart(aten.where.self)
def where(condition: Tensor, a: Tensor, b: Tensor) -> Any:
    return _promoted(partial(torch.where, condition), a, b)


@apart(aten.clamp.Tensor, aten.clamp_min.Tensor)
def clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


@apart(aten.clamp_max.Tensor)
def clamp_max(x: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(x, high)


@apart(aten.mul.Tensor)
def multiply(a: Any, b: Any) -> Any:
    return torch.logical_and(a, b) if _both_booleans(a, b) else _promoted(torch.mul, a, b)


@apart(aten.add.Tensor)
def add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    if _both_booleans(a, b):
        return torch.logical_or(a, b)
    return _promoted(torch.add, a, b) if alpha == 1 else torch.add(a, b * alpha)


@apart(aten.sub.Tensor)
def subtract(a: Any, b: Any, *, alpha: float = 1) -> Any:
    return _promoted(torch.sub, a, b) if alpha == 1 else torch.sub(a, b * alpha)


@apart(aten.div.Tensor)
def divide(a: Any, b: Any) -> Any:
    """Integers give fractions."""
    if isinstance(a, Tensor) and not torch.result_type(a, b).is_floating_point:
        return a.to(torch.get_default_dtype()) / b
    return _promoted(torch.div, a, b)


@apart(aten.ne.Tensor, aten.ne.Scalar)
def not_equal(a: Tensor, b: Any) -> Any:
    return _of_booleans(torch.ne, a, b)


@apart(aten.eq.Tensor, aten.eq.Scalar)
def equal(a: Tensor, b: Any) -> Any:
    return _of_booleans(torch.eq, a, b)


def _of_booleans(compare: Any, a: Tensor, b: Any) -> Any:
    """LLVM compares numbers."""
    if a.dtype is not torch.bool:
        return _promoted(compare, a, b)
    other = b.to(torch.int32) if isinstance(b, Tensor) and b.dtype is torch.bool else b
    return compare(a.to(torch.int32), int(other) if isinstance(other, bool) else other)


def _both_booleans(a: Any, b: Any) -> bool:
    return all(isinstance(x, Tensor) and x.dtype is torch.bool for x in (a, b))
