"""An exported program with only such operators as can be imported, as far as PyTorch or we know how
to take the others apart."""

from __future__ import annotations

import operator
from collections.abc import Collection
from functools import cache
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram, default_decompositions

# each registers what it takes apart
from tvm_flow.frontend.apart import (  # noqa: F401
    elementwise,
    embedding,
    empty,
    indexing,
    linear,
    losses,
    pooling,
    reductions,
    resizing,
    scattering,
    sorting,
    types,
)
from tvm_flow.frontend.apart.empty import without_empty
from tvm_flow.frontend.apart.fold import fold_constants
from tvm_flow.frontend.apart.pooling import WITH_INDICES
from tvm_flow.frontend.apart.registry import OURS, Decomposition, aten


def taken_apart(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    """``program`` in terms of operators whose names are ``known``, and others that nobody can take
    apart; what does not depend on its inputs is computed."""
    without_empty(program)
    made = program.run_decompositions(_table(program, known))
    fold_constants(made)
    return made


def _table(program: ExportedProgram, known: Collection[str]) -> dict[Any, Decomposition]:
    table = dict(_plain_table(frozenset(known)))
    if any(_returns_second(node) for node in program.graph.nodes if "max_pool" in str(node.target)):
        table.update(WITH_INDICES)
    for target in _NORMS:
        if any(map(_returns_second, _calls(program, target))):
            table[target] = torch._decomp.decomposition_table[target]
    if not _has_plain_batch_norms(program):
        for target in _BATCH_NORMS:
            table[target] = torch._decomp.decomposition_table[target]
    return table


@cache
def _plain_table(known: frozenset[str]) -> dict[Any, Decomposition]:
    table = dict(default_decompositions().items())
    for target, function in torch._decomp.decomposition_table.items():
        if isinstance(target, torch._ops.OpOverload) and target.__name__ not in known:
            table.setdefault(target, _unless_within(target, function))
    for name in dir(torch.ops.prims):
        packet = getattr(torch.ops.prims, name)
        if hasattr(packet, "impl_aten") and hasattr(packet, "default"):
            table[packet.default] = packet.impl_aten
    return {**table, **OURS}


#: They return their statistics too.
_NORMS = (aten.native_layer_norm.default, aten.native_group_norm.default)
_BATCH_NORMS = (
    aten.native_batch_norm.default, aten._native_batch_norm_legit.default,
    aten._native_batch_norm_legit_no_training.default,
    aten._native_batch_norm_legit_functional.default, aten._native_batch_norm_legit.no_stats,
)  # fmt: skip


def _has_plain_batch_norms(program: ExportedProgram) -> bool:
    """Whether all that is added and multiplied with is stored in the model, and statistics are not
    asked for."""
    signature = program.graph_signature
    stored = {*signature.inputs_to_parameters, *signature.inputs_to_buffers}
    kinds = ("batch_norm", "instance_norm")
    norms = [
        node for node in program.graph.nodes if any(kind in str(node.target) for kind in kinds)
    ]
    sources = [arg for node in norms for arg in node.args[1:5] if isinstance(arg, fx.Node)]
    return all(arg.name in stored for arg in sources) and not any(map(_returns_second, norms))


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
