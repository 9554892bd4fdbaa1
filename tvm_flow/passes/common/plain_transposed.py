"""A transposed convolution of stride 1 is an ordinary one with the kernel turned around."""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, rewrite


def plain_transposed(graph: Graph) -> Graph:
    """Replace those that cut off no more than ordinary padding adds."""
    return rewrite(graph, _rule)


def _rule(node: Node, _users: dict[int, list[Node]]) -> Node | None:
    a = node.attrs
    if node.op != "conv_transpose" or a["strides"] != (1, 1):
        return None
    weight = node.weights["weight"]
    reach = [d * (k - 1) for d, k in zip(a["dilation"], weight.shape[2:], strict=True)]
    before = [r - cut for r, cut in zip(reach, a["padding"], strict=True)]
    sizes = zip(node.shape[2:], node.inputs[0].shape[2:], reach, before, strict=True)
    after = [out - size + r - b for out, size, r, b in sizes]
    if min(*before, *after) < 0:
        return None
    attrs = {name: a[name] for name in ("strides", "dilation", "groups")}
    attrs["padding"] = (*before, *after)
    turned = np.ascontiguousarray(weight[:, :, ::-1, ::-1])
    weights = {"weight": turned, "bias": node.weights["bias"]}
    return Node("conv2d", node.inputs, node.shape, attrs, weights, node.modules)
