"""A module run so that its rounding errors show: without them, and with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from tvm_flow.frontend.forward import call, named_outputs, reference_mode
from tvm_flow.frontend.inputs import Array
from tvm_flow.schedules.contract.dtypes import FLOAT32

_FP32: torch.dtype = getattr(torch, FLOAT32.value)
_ONE_ROUNDING = torch.finfo(_FP32).eps


def in_double(
    module: nn.Module, arrays: Sequence[Array], keywords: Sequence[str] = ()
) -> list[Array] | None:
    """All outputs, every operator computed in fp64; ``None`` for a module that does not run so."""
    return _outputs(_InDouble(), module, arrays, keywords)


def one_rounding_off(
    module: nn.Module, arrays: Sequence[Array], keywords: Sequence[str] = ()
) -> list[Array] | None:
    """All outputs, every number that an operator computes off by about a rounding, up or down by
    chance that is the same every time; ``None`` for a module that does not run so."""
    return _outputs(_OneRoundingOff(), module, arrays, keywords)


def off_by_a_rounding(array: Array) -> Array:
    """Every number changed by a rounding of its size, or of the smallest normal number's, up or
    down by chance that is the same every time."""
    if array.dtype.kind != "f":
        return array
    signs = np.random.default_rng(0).choice([-1.0, 1.0], array.shape)
    step = _ONE_ROUNDING * np.maximum(np.abs(array), np.finfo(array.dtype).tiny)
    return np.asarray(array + signs * step, array.dtype)


def _outputs(
    mode: TorchFunctionMode, module: nn.Module, arrays: Sequence[Array], keywords: Sequence[str]
) -> list[Array] | None:
    tensors = [torch.tensor(array) for array in arrays]
    with reference_mode(), mode:
        try:
            result = named_outputs(call(module, tensors, keywords))
        except Exception:  # the user's code
            return None
    return [part.detach().cpu().numpy().copy() for _, part in result]


class _InDouble(TorchFunctionMode):
    """Widens what operators take and give, one by one: a copy of the module in fp64 would be three
    times as large, and its code would still make tensors in fp32."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return tree_map(_wide, func(*tree_map(_wide, args), **tree_map(_wide, kwargs or {})))


def _wide(value: Any) -> Any:
    narrow = isinstance(value, Tensor) and value.dtype is _FP32
    return value.to(torch.float64) if narrow else value


class _OneRoundingOff(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self._random = torch.Generator().manual_seed(0)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs))
        # what is a view, or was written in place, must stay the same memory
        given = {x.untyped_storage().data_ptr() for x in leaves if isinstance(x, Tensor)}
        return tree_map(lambda value: self._off(value, given), result)

    def _off(self, value: Any, given: set[int]) -> Any:
        if not isinstance(value, Tensor) or value.dtype is not _FP32:
            return value
        if value.untyped_storage().data_ptr() in given:
            return value
        signs = torch.randint(0, 2, value.shape, generator=self._random, dtype=torch.int8)
        return value * (1 + _ONE_ROUNDING * (signs - 0.5))
