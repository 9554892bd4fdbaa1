"""Products of two activations get a name, and take transposed operands as they are."""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, rewrite
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.operators import matmul

Users = dict[int, list[Node]]


def recognise_matmul(graph: Graph) -> Graph:
    """``relax.matmul`` -> ``matmul`` with the attributes ``ta`` and ``tb`` where there is a problem
    for its shapes; a transposition of the last two axes before it becomes one of those."""
    return rewrite(graph, _rule)


def _rule(node: Node, _users: Users) -> Node | None:
    if node.op != "relax.matmul" or len(node.inputs) != 2 or node.dtype != FLOAT32:
        return None
    (x, ta), (w, tb) = (_without_turn(source) for source in node.inputs)
    if matmul.problem(x.shape, w.shape, ta=ta, tb=tb) is None:
        return None
    attrs = {"ta": ta, "tb": tb}
    return Node("matmul", [x, w], node.shape, attrs, modules=node.modules, dtype=node.dtype)


def _without_turn(node: Node) -> tuple[Node, bool]:
    """What an operand was before its last two axes were exchanged, and whether they were."""
    rank = len(node.shape)
    turned = (*range(rank - 2), rank - 1, rank - 2)
    if node.op == "permute" and tuple(node.attrs["axes"]) == turned:
        return node.inputs[0], True
    return node, False
