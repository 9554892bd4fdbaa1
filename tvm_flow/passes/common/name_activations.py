"""Activations that are spelt out get their name, after what can compute them in its epilogue.

What an exporter makes of ELU, softplus or a hardswish of its own is a small graph of element-wise
operators and numbers, in spellings without end. So such a graph is not compared with patterns but
computed, in float64 on some thousand numbers of all magnitudes; what equals an activation on all of
them is that activation. Its numbers (a slope, a bound) follow from a few of the values.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tvm_flow.ir.graph import Array, Graph, Node, merged, rewrite
from tvm_flow.ir.pointwise import computable, evaluate
from tvm_flow.schedules.operators.activations import function, text_of

Users = dict[int, list[Node]]

#: What has an activation in its epilogue.
_PRODUCERS = frozenset({"conv2d", "conv3d", "conv_transpose", "dense"})
#: More operators are no activation.
_LONGEST = 48
_GRID = np.concatenate(
    [np.linspace(-12, 12, 2401), *(sign * np.logspace(-6, 38, 200) for sign in (-1, 1))]
)
#: Greatest difference, relative and absolute: what constants of fp32 make, not more.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-6
_PLAIN = ("relu", "relu6", "tanh", "softplus", "mish", "gelu_tanh", "gelu", "sigmoid", "silu",
          "hardswish", "hardsigmoid")  # fmt: skip


def name_activations(graph: Graph) -> Graph:
    """Replace what equals an activation, of the result of a convolution or dense layer that nothing
    else reads, by ``act``."""
    users = graph.users()
    named: dict[int, Node] = {}
    for node in graph.nodes():
        dense = node.op == "reshape" and node.inputs[0].op == "dense"
        if dense or node.op in _PRODUCERS:
            found = _activation_of(node, users)
            if found is not None:
                named[id(found[0])] = found[1]
    return rewrite(graph, lambda node, _users: named.pop(id(node), None))


def _activation_of(x: Node, users: Users) -> tuple[Node, Node] | None:
    """The last node of the longest activation of ``x``, and what takes its place."""
    region = _region(x, users)
    for end in reversed(region):
        inside = _cone(end, region)
        if len(inside) == 1 and end.op == "act":
            return None  # it has its name
        nodes = [node for node in region if id(node) in inside]
        if end.shape != x.shape or end.dtype != x.dtype or not _closed([x, *nodes], users):
            continue
        kind = _named(nodes, x)
        if kind is not None:
            return end, Node("act", [x], x.shape, {"kind": kind}, modules=merged(*nodes))
    return None


def _closed(nodes: list[Node], users: Users) -> bool:
    """Whether nothing but ``nodes`` reads them, except for the last; an output reads itself."""
    inside = {id(node) for node in nodes}
    return all(
        id(user) in inside and user is not node
        for node in nodes[:-1]
        for user in users.get(id(node), [])
    )


def _region(x: Node, users: Users) -> list[Node]:
    """What is computed of ``x`` and numbers alone, element by element, producers first."""
    known, region, waiting = {id(x)}, list[Node](), list(users.get(id(x), []))
    while waiting and len(region) < _LONGEST:
        node = waiting.pop(0)
        ready = all(id(s) in known or _is_number(s) for s in node.inputs)
        if id(node) in known or not ready or not computable(node):
            continue
        known.add(id(node))
        region.append(node)
        waiting += users.get(id(node), [])
    return region


def _is_number(node: Node) -> bool:
    return node.op == "const" and node.weights["value"].size == 1


def _cone(end: Node, region: list[Node]) -> set[int]:
    """The nodes of the region that ``end`` is computed from, and itself."""
    found = {id(end)}
    for node in reversed(region):
        if id(node) in found:
            found |= {id(source) for source in node.inputs}
    return found & {id(node) for node in region}


def _named(nodes: list[Node], x: Node) -> str | None:
    """The activation that ``nodes`` compute, the last one its result."""
    values: dict[int, Array] = {id(x): _GRID}
    with np.errstate(all="ignore"):
        for node in nodes:
            for source in node.inputs:
                if source.op == "const":
                    values[id(source)] = source.weights["value"].reshape(-1)[0]
            values[id(node)] = evaluate(node, [values[id(source)] for source in node.inputs])
        result = np.broadcast_to(values[id(nodes[-1])], _GRID.shape)
        return next((kind for kind in _candidates(result) if _equal(kind, result)), None)


def _equal(kind: str, result: Array) -> bool:
    return bool(np.allclose(function(kind)(_GRID), result, rtol=_RELATIVE, atol=_ABSOLUTE))


def _candidates(result: Array) -> Iterator[str]:
    """Activations that ``result`` may be of the grid, with numbers that fit some of its values."""
    yield from _PLAIN

    def at(x: float) -> float:
        return float(result[int(np.argmin(np.abs(_GRID - x)))])

    low, high = float(result.min()), float(result.max())
    far = float(_GRID.max())
    if low < high and (low > -far or high < far):
        yield text_of("clip", low if low > -far else -np.inf, high if high < far else np.inf)
    yield text_of("leakyrelu", -at(-1))
    yield text_of("elu", at(1), -at(-12) / -np.expm1(-12.0))
    if 0 < at(1) < 1:
        yield text_of("silu", np.log(at(1) / (1 - at(1))))
    yield text_of("hardswish", (at(0.5) + at(-0.5)) / 0.5, at(0.5) - at(-0.5))
