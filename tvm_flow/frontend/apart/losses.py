"""Losses."""

from __future__ import annotations

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten

_MULTILABEL_MARGIN = aten.multilabel_margin_loss_forward.default
_NO_REDUCTION = 0


@apart(_MULTILABEL_MARGIN)
def multilabel_margin(x: Tensor, target: Tensor, reduction: int) -> tuple[Tensor, Tensor]:
    """PyTorch's own gives one element for the scalar of a single sample."""
    theirs = torch._decomp.decomposition_table[_MULTILABEL_MARGIN]
    loss, is_target = theirs(x, target, reduction)
    if reduction == _NO_REDUCTION and x.ndim < 2:
        loss = loss.reshape(())
    return loss, is_target
