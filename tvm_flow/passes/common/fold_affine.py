"""Fold per-channel scale and shift (batch norm, bias) into the weights before it.

conv(x)*s + t = conv'(x) with weight*s and bias*s + t; the same for a dense layer. The batch norm of
an unfused position stays an ``affine`` node and is emitted as a 1x1 depthwise convolution.
"""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite


def fold_affine(graph: Graph) -> Graph:
    """Remove every ``affine`` whose producer can absorb it and has no other consumer."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: dict[int, list[Node]]) -> Node | None:
    if node.op != "affine":
        return None
    source = node.inputs[0]
    if (
        source.op not in ("conv2d", "conv3d", "conv_transpose", "dense", "affine")
        or only_user(source, users) is not node
    ):
        return None
    scale = node.weights["scale"].astype(np.float64)
    shift = node.weights["shift"].astype(np.float64)
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
    modules = merged(source, node)
    return Node(source.op, source.inputs, node.shape, source.attrs, weights, modules)
