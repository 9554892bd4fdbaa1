"""An exported program with only such operators as can be imported, as far as PyTorch or we know how
to take the others apart."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram, default_decompositions

# each registers what it takes apart
from tvm_flow.frontend.apart import (  # noqa: F401
    elementwise,
    indexing,
    linear,
    pooling,
    reductions,
    resizing,
    scattering,
    sorting,
)
from tvm_flow.frontend.apart.fold import fold_constants
from tvm_flow.frontend.apart.pooling import WITH_INDICES
from tvm_flow.frontend.apart.registry import OURS, Decomposition


def taken_apart(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    """``program`` in terms of operators whose names are ``known``, and others that nobody can take
    apart; what does not depend on its inputs is computed."""
    made = program.run_decompositions(_table(program, known))
    fold_constants(made)
    return made


def _table(program: ExportedProgram, known: Collection[str]) -> dict[Any, Decomposition]:
    table = dict(default_decompositions().items())
    for target, function in torch._decomp.decomposition_table.items():
        if isinstance(target, torch._ops.OpOverload) and target.__name__ not in known:
            table.setdefault(target, _unless_within(target, function))
    for name in dir(torch.ops.prims):
        packet = getattr(torch.ops.prims, name)
        if hasattr(packet, "impl_aten") and hasattr(packet, "default"):
            table[packet.default] = packet.impl_aten
    table.update(OURS)
    for target, function in WITH_INDICES.items():
        if any(map(_returns_second, _calls(program, target))):
            table[target] = function
    return table


def _unless_within(target: Any, function: Decomposition) -> Decomposition:
    """``function``, which may end in a call of ``target`` itself: that one stays, and is refused
    by its name."""
    within = False

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        nonlocal within
        if within:
            return NotImplemented
        within = True
        try:
            return function(*args, **kwargs)
        finally:
            within = False

    return decomposed


def _calls(program: ExportedProgram, target: Any) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.target is target]


def _returns_second(node: fx.Node) -> bool:
    return any(user.target is operator.getitem and user.args[1] == 1 for user in node.users)
