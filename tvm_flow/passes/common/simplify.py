"""Remove what does nothing and name what is spelt out.

Identities (slice or concat of everything, slice of a slice, add of zero), per-channel constants
(``add``/``multiply`` with a constant becomes ``affine``), and the clip chains that relu6,
hardsigmoid and hardswish are decomposed into.
"""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, merged, rewrite
from tvm_flow.passes.common.scales import affine_of

Users = dict[int, list[Node]]


def simplify(graph: Graph) -> Graph:
    """Apply all rules until nothing changes."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: Users) -> Node | None:
    for rule in (_identity, _nested_slice, _merge_clip, _named_clip, _hard, _silu, _constant):
        new = rule(node)
        if new is not None:
            return new
    return None


def _identity(node: Node) -> Node | None:
    single = node.op in ("slice", "reshape", "concat") and len(node.inputs) == 1
    if single and node.inputs[0].shape == node.shape:
        return node.inputs[0]
    if node.op == "permute" and node.attrs["axes"] == tuple(range(len(node.shape))):
        return node.inputs[0]
    return None


def _nested_slice(node: Node) -> Node | None:
    if node.op != "slice" or node.inputs[0].op != "slice":
        return None
    inner, axis = node.inputs[0], node.attrs["axis"]
    if inner.attrs["axis"] != axis:
        return None
    offset = inner.attrs["start"]
    attrs = {
        "axis": axis, "start": node.attrs["start"] + offset, "stop": node.attrs["stop"] + offset,
    }  # fmt: skip
    return Node("slice", inner.inputs, node.shape, attrs, dtype=node.dtype)


def _merge_clip(node: Node) -> Node | None:
    if node.op != "clip" or node.inputs[0].op != "clip":
        return None
    inner = node.inputs[0]
    low, high = (
        min(max(inner.attrs[bound], node.attrs["low"]), node.attrs["high"])
        for bound in ("low", "high")
    )
    return Node("clip", inner.inputs, node.shape, {"low": low, "high": high})


def _named_clip(node: Node) -> Node | None:
    if node.op != "clip" or node.attrs["low"] != 0.0:
        return None
    kind = {6.0: "relu6", np.inf: "relu"}.get(node.attrs["high"])
    # clip(x + 3, 0, 6) is the heart of hardswish, and its chain must stay visible
    source = node.inputs[0]
    if kind is None or (kind == "relu" and source.op == "clip") or _plus_three(source) is not None:
        return None
    if source.op == "add" and scalar(source.inputs[1]) == 3.0:
        return None
    return Node("act", node.inputs, node.shape, {"kind": kind})


def scalar(node: Node) -> float | None:
    """The value of a one-element constant."""
    if node.op == "const" and node.weights["value"].size == 1:
        return float(node.weights["value"].reshape(-1)[0])
    return None


def _plus_three(node: Node) -> Node | None:
    """x of ``x + 3``."""
    if node.op == "add":
        for x, c in (node.inputs, node.inputs[::-1]):
            if scalar(c) == 3.0:
                return x
    return None


def _relu6_plus_three(node: Node) -> Node | None:
    """x of ``relu6(x + 3)``."""
    clipped = node.op == "clip" and (node.attrs["low"], node.attrs["high"]) == (0.0, 6.0)
    named = node.op == "act" and node.attrs["kind"] == "relu6"
    return _plus_three(node.inputs[0]) if clipped or named else None


def _over_six(node: Node) -> Node | None:
    """y of ``y / 6``, however it is written."""
    if node.op == "divide" and scalar(node.inputs[1]) == 6.0:
        return node.inputs[0]
    if node.op == "multiply":
        for y, c in (node.inputs, node.inputs[::-1]):
            value = scalar(c)
            if value is not None and abs(value - 1 / 6) < 1e-7:
                return y
    return None


def _hard(node: Node) -> Node | None:
    """hardsigmoid = relu6(x+3)/6 and hardswish = x*relu6(x+3)/6 in both groupings."""
    inner = _over_six(node)
    if inner is not None:
        x = _relu6_plus_three(inner)
        if x is not None:
            return Node("act", [x], node.shape, {"kind": "hardsigmoid"})
        if inner.op == "multiply":
            for a, b in (inner.inputs, inner.inputs[::-1]):
                if _relu6_plus_three(b) is a:
                    return Node("act", [a], node.shape, {"kind": "hardswish"})
    return _times(node, "hardsigmoid", "hardswish")


def _silu(node: Node) -> Node | None:
    return _times(node, "sigmoid", "silu")


def _times(node: Node, gate: str, result: str) -> Node | None:
    """x * gate(x) -> result(x)."""
    if node.op == "multiply":
        for a, b in (node.inputs, node.inputs[::-1]):
            if b.op == "act" and b.attrs["kind"] == gate and b.inputs[0] is a:
                return Node("act", [a], node.shape, {"kind": result})
    return None


def _constant(node: Node) -> Node | None:
    """x + c, x * c, x - c, x / c with one constant per channel (axis 1) -> affine."""
    found = affine_of(node) if node.op != "affine" else None
    if found is None or len(node.shape) < 2:
        return None  # the channels of a vector would be its batch
    if node.op == "subtract" and found.x is not node.inputs[0]:
        return None
    constant = next(source for source in node.inputs if source is not found.x)
    value, flat = constant.weights["value"], found.along(1)
    if flat is None or value.size != node.shape[1] or (value.size == 1 and value.ndim < 2):
        return None  # scalars belong to activations; they are handled by their own patterns
    weights = {k: v.astype(node.dtype) for k, v in zip(("scale", "shift"), flat, strict=True)}
    return Node("affine", [found.x], node.shape, {}, weights, merged(node, constant))
