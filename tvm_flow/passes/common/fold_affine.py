"""Scales and shifts (batch norm, bias, layer scale, single numbers) go into the weights beside
them.

conv(x)*s + t = conv'(x) with weight*s and bias*s + t, of numbers as of one constant per channel;
the same for a dense layer. What could not go backwards, for an activation is in between, goes
forwards: conv(x*s + t) has weight*s and bias + weight·t where nothing is padded, and under padding
with t = 0. After an activation that nothing could take what follows of, several in a row become one
``affine``, for the kernel's epilogue. The batch norm of an unfused position stays an ``affine``
node and is emitted as a 1x1 depthwise convolution.
"""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Array, Graph, Node, merged, only_user, rewrite
from tvm_flow.passes.common.scales import Affine, affine_of

Users = dict[int, list[Node]]

#: The axis of the output channels of what absorbs a scale and a shift of its result.
_CHANNELS = {"conv2d": 1, "conv3d": 1, "conv_transpose": 1, "affine": 1, "dense": -1}
#: The axis of the input channels of what absorbs those of what it reads.
_READS = {"conv2d": 1, "conv3d": 1, "conv_transpose": 1, "dense": -1}


def fold_affine(graph: Graph) -> Graph:
    """Remove every scale and shift whose producer can absorb it and has no other consumer, or
    whose consumers all can."""
    return rewrite(rewrite(graph, _backwards), _rest)


def _rest(node: Node, users: Users) -> Node | None:
    return _forwards(node, users) or _backwards(node, users) or _after_activation(node, users)


def _backwards(node: Node, users: Users) -> Node | None:
    found = affine_of(node)
    if found is None or only_user(found.x, users) is not node:
        return None
    source, axis = found.x, _CHANNELS.get(found.x.op)
    if source.op == "reshape":
        return _through_reshape(node, found, users)
    flat = found.along(axis) if axis is not None else None
    return _absorbed(source, node, flat) if flat is not None else None


def _through_reshape(node: Node, found: Affine, users: Users) -> Node | None:
    """Pixels of a dense layer that are put into rows in between keep their channels."""
    turned, dense = found.x, found.x.inputs[0]
    if dense.op != "dense" or only_user(dense, users) is not turned:
        return None
    flat = found.along(-1) if dense.shape[-1] == node.shape[-1] else None
    if flat is None:
        return None
    inner = _absorbed(dense, node, flat)
    return Node("reshape", [inner], node.shape, turned.attrs, dtype=node.dtype)


def _absorbed(source: Node, node: Node, flat: tuple[Array, Array]) -> Node:
    """``source`` with the scale and the shift that ``node`` is, one per channel."""
    scale, shift = flat
    if source.op == "affine":
        weights = {
            "scale": source.weights["scale"] * scale,
            "shift": source.weights["shift"] * scale + shift,
        }
    else:
        w = source.weights["weight"]
        weights = {
            "weight": w * scale.reshape(-1, *[1] * (w.ndim - 1)),
            "bias": source.weights["bias"] * scale + shift,
        }
    weights = {k: v.astype(source.weights[k].dtype) for k, v in weights.items()}
    modules = _modules(source, node)
    return Node(source.op, source.inputs, source.shape, source.attrs, weights, modules)


def _modules(first: Node, node: Node) -> tuple[str, ...]:
    """Of both, and of the constants that the node reads."""
    return merged(first, node, *(s for s in node.inputs if s.op == "const"))


def _forwards(node: Node, users: Users) -> Node | None:
    if node.op not in _READS:
        return None
    source = node.inputs[0]
    found = affine_of(source)
    if found is None or any(_folded(user, found) is None for user in users[id(source)]):
        return None
    weights = _folded(node, found)
    inputs = [found.x, *node.inputs[1:]]
    modules = merged(source, *(s for s in source.inputs if s.op == "const"), node)
    return Node(node.op, inputs, node.shape, node.attrs, weights or {}, modules)


def _folded(reader: Node, given: Affine) -> dict[str, Array] | None:
    """The weights of ``reader`` once it reads what ``given`` is of; ``None`` if it cannot."""
    axis = _READS.get(reader.op)
    flat = given.along(axis) if axis is not None and reader.inputs[0] is given.node else None
    if flat is None:
        return None
    (scale, shift), weight = flat, reader.weights["weight"]
    groups = reader.attrs.get("groups", 1)
    bordered = reader.op not in ("conv2d", "dense") or any(reader.attrs.get("padding", ()))
    if bordered and shift.any():
        return None
    per_group = [v.reshape(groups, 1, -1, *[1] * (weight.ndim - 2)) for v in (scale, shift)]
    wide = weight.astype(np.float64).reshape(groups, -1, *weight.shape[1:])
    more = (wide * per_group[1]).sum(axis=tuple(range(2, wide.ndim))).reshape(-1)
    new = {"weight": (wide * per_group[0]).reshape(weight.shape)}
    new["bias"] = reader.weights["bias"] + more
    return {k: v.astype(reader.weights[k].dtype) for k, v in new.items()}


def _after_activation(node: Node, users: Users) -> Node | None:
    """Numbers after the activation of a convolution's result, as one per channel."""
    found = affine_of(node) if node.op != "affine" and len(node.shape) == 4 else None
    if found is None or found.x.op != "act" or only_user(found.x, users) is not node:
        return None
    act = found.x
    made, flat = act.inputs[0], found.along(1)
    if flat is None or made.op != "conv2d":
        return None
    if only_user(made, users) is not act:
        return None
    weights = {k: v.astype(node.dtype) for k, v in zip(("scale", "shift"), flat, strict=True)}
    return Node("affine", [act], node.shape, {}, weights, _modules(node, node))
