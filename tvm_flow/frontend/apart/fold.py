"""What a program computes from its weights and from constants alone is computed when importing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from tvm_flow.frontend.apart.registry import aten

#: Views of a weight stay, so that the weight keeps the name of its module.
_VIEWS = frozenset(
    {
        aten.permute.default, aten.view.default, aten.reshape.default, aten.unsqueeze.default,
        aten.squeeze.dims, aten.t.default, aten.transpose.int, aten.alias.default,
        aten.detach.default, aten.clone.default, aten.expand.default,
    }
)  # fmt: skip


class Folded:
    """A constant as the target of a call without arguments."""

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self.__name__ = "folded"

    def __call__(self) -> Tensor:
        return self.value


def fold_constants(program: ExportedProgram) -> None:
    """In place."""
    graph = program.graph
    values = _stored(program)
    weights = {node for node in values if node.name in program.graph_signature.inputs_to_parameters}
    for node in graph.nodes:
        if node.op != "call_function" or not _is_constant(node, values):
            continue
        if node.target in _VIEWS and node.args[0] in weights:
            weights.add(node)
        values[node] = _value(node, values)
    for node in list(graph.nodes):
        if node in values and node not in weights and node.op == "call_function":
            _replace(graph, node, values[node], values)
    graph.eliminate_dead_code()


def _stored(program: ExportedProgram) -> dict[fx.Node, Any]:
    """Values of the placeholders that are no inputs."""
    stored = {**program.constants, **program.state_dict}
    found: dict[fx.Node, Any] = {}
    placeholders = (node for node in program.graph.nodes if node.op == "placeholder")
    for node, spec in zip(placeholders, program.graph_signature.input_specs, strict=True):
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            found[node] = stored[str(spec.target)].detach()
    for node in program.graph.nodes:
        if node.op == "get_attr" and isinstance(
            value := getattr(program.graph_module, str(node.target), None), Tensor
        ):
            found[node] = value
    return found


def _is_constant(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return False
    return all(source in values for source in node.all_input_nodes)


def _value(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
    assert callable(node.target)
    return node.target(*args, **kwargs)


def _replace(graph: fx.Graph, node: fx.Node, value: Any, values: dict[fx.Node, Any]) -> None:
    if not isinstance(value, Tensor) or all(user in values for user in node.users):
        return  # nothing but other constants looks at it
    with graph.inserting_before(node):
        made = graph.call_function(Folded(value.contiguous()))
    made.meta = dict(node.meta)
    node.replace_all_uses_with(made)
