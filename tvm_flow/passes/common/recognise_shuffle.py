"""Channel shuffle and what feeds it.

reshape [n, g, c/g, h, w] -> swap axes 1, 2 -> reshape back becomes ``channel_shuffle``; with two
equal halves concatenated before it, ``concat_shuffle(a, b)``: output channel 2i is a[i], 2i+1 is
b[i] (ShuffleNet V2, arXiv 1807.11164). A later pass folds it into the store of one producer.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, only_user, rewrite


def recognise_shuffle(graph: Graph) -> Graph:
    """Name the pattern, then merge it with the concatenation before it."""
    return rewrite(rewrite(graph, _shuffle), _concat_shuffle)


def _shuffle(node: Node, users: dict[int, list[Node]]) -> Node | None:
    if node.op != "reshape" or node.inputs[0].op != "permute":
        return None
    permute = node.inputs[0]
    split = permute.inputs[0]
    if split.op != "reshape" or permute.attrs["axes"] != (0, 2, 1, 3, 4):
        return None
    x = split.inputs[0]
    n, c, h, w = x.shape if len(x.shape) == 4 else (0, 0, 0, 0)
    groups = split.shape[1]
    if node.shape != x.shape or split.shape != (n, groups, c // groups, h, w):
        return None
    return Node("channel_shuffle", [x], node.shape, {"groups": groups})


def _concat_shuffle(node: Node, users: dict[int, list[Node]]) -> Node | None:
    if node.op != "channel_shuffle" or node.attrs["groups"] != 2:
        return None
    concat = node.inputs[0]
    if concat.op != "concat" or len(concat.inputs) != 2 or concat.attrs["axis"] != 1:
        return None
    a, b = concat.inputs
    if a.shape != b.shape or only_user(concat, users) is not node:
        return None
    return Node("concat_shuffle", [a, b], node.shape)
