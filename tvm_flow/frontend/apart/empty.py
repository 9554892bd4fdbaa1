"""Tensors without elements: there is nothing to compute of them, so all of them are constants, as
is what is computed from them alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from tvm_flow.frontend.apart.registry import apart, aten


def without_empty(program: ExportedProgram) -> None:
    """In place: constants instead of all tensors without elements, inputs among them."""
    graph = program.graph
    nodes = list(graph.nodes)
    start = next(node for node in nodes if node.op != "placeholder")
    for node in nodes:
        value = node.meta.get("val")
        if not isinstance(value, Tensor) or value.numel() or not _is_replaced(node):
            continue
        with graph.inserting_before(start if node.op == "placeholder" else node):
            made = graph.call_function(
                aten.full.default, (list(value.shape), 0), {"dtype": value.dtype}
            )
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        _rename_output(program, node.name, made.name)
    graph.eliminate_dead_code()


def _is_replaced(node: fx.Node) -> bool:
    return node.op in ("placeholder", "call_function") and node.target is not aten.full.default


def _rename_output(program: ExportedProgram, old: str, new: str) -> None:
    for spec in program.graph_signature.output_specs:
        if getattr(spec.arg, "name", None) == old:
            spec.arg.name = new


@apart(aten.cat.default)
def concatenated(tensors: Any, dim: int = 0) -> Any:
    """Without those that add nothing."""
    kept = [x for x in tensors if x.numel()]
    if not kept or len(kept) == len(tensors):
        return NotImplemented
    return torch.cat(kept, dim) if len(kept) > 1 else kept[0].clone()
