"""Tables of rows that indices choose from."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.reductions import norm
from tvm_flow.frontend.apart.registry import apart, aten

_SUM, _MEAN, _MAX = 0, 1, 2


@apart(aten._embedding_bag_forward_only.default, aten._embedding_bag.default)
def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False,
    mode: int = _SUM, sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int = -1,
) -> Any:  # fmt: skip
    """Every bag looks at all indices, and leaves out those of others. Where the largest of a bag
    come from is not told."""
    count = offsets.shape[0] - (1 if include_last_offset else 0)
    number, bags = torch.arange(indices.shape[0]), torch.arange(count)
    bag = (number.unsqueeze(1) >= offsets.narrow(0, 0, count)).to(torch.int64).sum(1) - 1
    own = (bag == bags.unsqueeze(1)) & (indices != padding_idx)
    rows = torch.index_select(weight, 0, indices)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    size = own.to(torch.int64).sum(1)
    if mode == _MAX:
        made = torch.where(own.unsqueeze(2), rows.unsqueeze(0), -math.inf).amax(1)
        made = torch.where((size == 0).unsqueeze(1), 0.0, made)
    else:
        made = torch.where(own.unsqueeze(2), rows.unsqueeze(0), 0.0).sum(1)
    if mode == _MEAN:
        made = made / torch.clamp(size, min=1).to(made.dtype).unsqueeze(1)
    return made, bag, size, size


@apart(aten.embedding_renorm.default)
def embedding_renorm(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Only rows that are asked for are shortened."""
    chosen = indices.reshape(-1).unsqueeze(0) == torch.arange(weight.shape[0]).unsqueeze(1)
    length = norm(weight, norm_type, [1], True)
    long = chosen.to(torch.int32).amax(1, True).to(torch.bool) & (length > max_norm)
    return torch.where(long, weight * (max_norm / (length + 1e-7)), weight)
