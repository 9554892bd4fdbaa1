"""Every spelling of partial convolution becomes one ``pconv`` node.

PConv (arXiv 2303.03667): a stride-1, same-padded convolution of the first channels, the rest
untouched. Two forms arrive here, whatever the source wrote (split, chunk, narrow, slicing; cat,
slice assignment, in-place): ``concat(conv(x[:cc]), x[cc:])`` and
``slice_scatter(x, conv(x[:cc]), 0, cc)``. Other channels than the first, a dilation, and an
activation after the convolution are variants of it.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite

CHANNELS = 1  # the pass runs before the layout pass


def recognise_pconv(graph: Graph) -> Graph:
    """Replace both forms by ``pconv`` nodes (weights ``conv``, ``conv_bias``; attrs as the
    operator's parameters: cc, k, and where they are needed first, d, inner)."""
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
    changed = [part for part in node.inputs if part.op != "slice"]
    sources = {id(x): x for part in node.inputs if (x := _channels_of(part)) is not None}
    if len(changed) != 1 or len(sources) != 1:
        return None
    (part,), (x,) = changed, sources.values()
    before = node.inputs[: node.inputs.index(part)]
    after = node.inputs[len(before) + 1 :]
    start = sum(one.shape[CHANNELS] for one in before)
    stop = start + part.shape[CHANNELS]
    if not _tiles(before, x, 0, start) or not _tiles(after, x, stop, x.shape[CHANNELS]):
        return None
    return _pconv(node, part, x, start, users)


def _from_scatter(node: Node, users: dict[int, list[Node]]) -> Node | None:
    x, part = node.inputs
    a = node.attrs
    if a["axis"] != CHANNELS or a["stop"] - a["start"] != part.shape[CHANNELS]:
        return None
    return _pconv(node, part, x, a["start"], users)


def _channels_of(node: Node) -> Node | None:
    """x of ``x[:, a:b]``."""
    if node.op == "slice" and node.attrs["axis"] == CHANNELS:
        return node.inputs[0]
    return None


def _tiles(parts: list[Node], x: Node, start: int, stop: int) -> bool:
    """Whether ``parts`` are consecutive channel slices of ``x`` from ``start`` to ``stop``."""
    for part in parts:
        if _channels_of(part) is not x or part.attrs["start"] != start:
            return False
        start = part.attrs["stop"]
    return start == stop


def _pconv(
    node: Node, part: Node, x: Node, start: int, users: dict[int, list[Node]]
) -> Node | None:
    """The node, if ``part`` convolves exactly as many channels of ``x`` from ``start`` on as it
    has, and maybe activates them."""
    inner, conv, user = "none", part, node
    if part.op == "act" and only_user(part, users) is node:
        inner, conv, user = part.attrs["kind"], part.inputs[0], part
    if conv.op != "conv2d" or only_user(conv, users) is not user or len(x.shape) != 4:
        return None
    cc, k, d = conv.shape[CHANNELS], conv.weights["weight"].shape[2], conv.attrs["dilation"][0]
    if not _reads(conv.inputs[0], x, start, cc) or not _keeps_size(conv):
        return None
    weights = {"conv": conv.weights["weight"], "conv_bias": conv.weights["bias"]}
    unusual = {"first": (start, 0), "d": (d, 1), "inner": (inner, "none")}
    attrs = {name: value for name, (value, usual) in unusual.items() if value != usual}
    modules = merged(conv, part)
    return Node("pconv", [x], node.shape, {"cc": cc, "k": k, **attrs}, weights, modules)


def _reads(part: Node, x: Node, start: int, count: int) -> bool:
    """Whether ``part`` is ``count`` channels of ``x`` from ``start`` on."""
    if part is x:
        return (start, count) == (0, x.shape[CHANNELS])
    return _channels_of(part) is x and (part.attrs["start"], part.shape[CHANNELS]) == (start, count)


def _keeps_size(conv: Node) -> bool:
    """Whether it is a dense square convolution of stride 1 with the padding of all its sides."""
    a, (*_, kh, kw), (d, across) = conv.attrs, conv.weights["weight"].shape, conv.attrs["dilation"]
    square = kh == kw and kh % 2 == 1 and d == across
    return (
        square
        and a["groups"] == 1
        and a["strides"] == (1, 1)
        and a["padding"] == (d * (kh // 2),) * 4
    )
