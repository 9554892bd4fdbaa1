"""Where decompositions are kept: functions of PyTorch operators on what the operator takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Decomposition = Callable[..., Any]
aten: Any = torch.ops.aten

OURS: dict[Any, Decomposition] = {}


def apart(*operators: Any) -> Callable[[Decomposition], Decomposition]:
    """Register a decomposition. It may return ``NotImplemented`` for a use that is to stay."""

    def register(function: Decomposition) -> Decomposition:
        OURS.update(dict.fromkeys(operators, function))
        return function

    return register
