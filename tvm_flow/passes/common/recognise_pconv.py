"""Every spelling of partial convolution becomes one ``pconv`` node.

PConv (arXiv 2303.03667): a stride-1, same-padded convolution of the first channels, the rest
untouched. Two forms arrive here, whatever the source wrote (split, chunk, narrow, slicing; cat,
slice assignment, in-place): ``concat(conv(x[:cc]), x[cc:])`` and
``slice_scatter(x, conv(x[:cc]), 0, cc)``.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, only_user, rewrite

CHANNELS = 1  # the pass runs before the layout pass


def recognise_pconv(graph: Graph) -> Graph:
    """Replace both forms by ``pconv`` nodes (weights ``conv``, ``conv_bias``; attrs cc, k)."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: dict[int, list[Node]]) -> Node | None:
    if node.op == "concat":
        return _from_concat(node, users)
    if node.op == "slice_scatter":
        return _from_scatter(node, users)
    return None


def _from_concat(node: Node, users: dict[int, list[Node]]) -> Node | None:
    if node.attrs["axis"] != CHANNELS or len(node.inputs) < 2:
        return None
    conv, first = node.inputs[0], node.inputs[1]
    x = _channels_of(first)
    if x is None or not _tiles(node.inputs[1:], x, conv.shape[CHANNELS]):
        return None
    return _pconv(node, conv, x, users)


def _from_scatter(node: Node, users: dict[int, list[Node]]) -> Node | None:
    x, conv = node.inputs
    a = node.attrs
    if a["axis"] != CHANNELS or a["start"] != 0 or a["stop"] != conv.shape[CHANNELS]:
        return None
    return _pconv(node, conv, x, users)


def _channels_of(node: Node) -> Node | None:
    """x of ``x[:, a:b]``."""
    if node.op == "slice" and node.attrs["axis"] == CHANNELS:
        return node.inputs[0]
    return None


def _tiles(parts: list[Node], x: Node, start: int) -> bool:
    """Whether ``parts`` are consecutive channel slices of ``x`` from ``start`` to its end."""
    for part in parts:
        if _channels_of(part) is not x or part.attrs["start"] != start:
            return False
        start = part.attrs["stop"]
    return start == x.shape[CHANNELS]


def _pconv(node: Node, conv: Node, x: Node, users: dict[int, list[Node]]) -> Node | None:
    """The node, if ``conv`` convolves exactly the first channels of ``x``."""
    if conv.op != "conv2d" or only_user(conv, users) is not node or len(x.shape) != 4:
        return None
    part, a, cc = conv.inputs[0], conv.attrs, conv.shape[CHANNELS]
    prefix = part is x and cc == x.shape[CHANNELS]
    if _channels_of(part) is x and part.attrs["start"] == 0:
        prefix = part.attrs["stop"] == cc
    k = conv.weights["weight"].shape[2]
    plain = (
        a["groups"] == 1 and a["strides"] == (1, 1) and a["dilation"] == (1, 1)
        and conv.weights["weight"].shape[2:] == (k, k) and k % 2 == 1
        and a["padding"] == (k // 2,) * 4
    )  # fmt: skip
    if not prefix or not plain:
        return None
    weights = {"conv": conv.weights["weight"], "conv_bias": conv.weights["bias"]}
    return Node("pconv", [x], node.shape, {"cc": cc, "k": k}, weights, conv.modules)
