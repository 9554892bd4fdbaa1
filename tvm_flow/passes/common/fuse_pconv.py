"""PConv and the 1x1 convolutions after it become one operator.

``pconv -> conv2d 1x1`` is ``pconv_pointwise``; with a second 1x1 back to the input's width and the
input added, the FasterNet block ``pconv_block``.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite
from tvm_flow.schedules.contract.problem import NHWC

Users = dict[int, list[Node]]

#: What a convolution says of itself only where it is more than a product of every pixel with
#: matrices and an activation (a dilation of one tap does not matter, and is rare).
_PADDED_OR_DILATED = frozenset({"dh", "dw", "pb", "pr", "post"})


def fuse_pconv_pointwise(graph: Graph) -> Graph:
    """Fuse PConv into the 1x1 convolution that is its only consumer."""
    return rewrite(graph, _pointwise)


def fuse_pconv_block(graph: Graph) -> Graph:
    """Fuse ``pconv_pointwise`` with the 1x1 and the residual addition after it."""
    return rewrite(graph, _block)


def is_pointwise(node: Node, layouts: tuple[str, ...] = (NHWC,), *, grouped: bool = False) -> bool:
    """A 1x1, stride-1, unpadded convolution, in one group or maybe ``grouped``, in one of
    ``layouts``."""
    a = node.attrs
    if node.op != "conv2d" or a["layout"] not in layouts:
        return False
    unusual = a.keys() & (_PADDED_OR_DILATED if grouped else {*_PADDED_OR_DILATED, "groups"})
    window = (a["kh"], a["kw"], a["sh"], a["sw"], a["ph"], a["pw"])
    return not unusual and window == (1, 1, 1, 1, 0, 0)


def _pointwise(node: Node, users: Users) -> Node | None:
    if not is_pointwise(node) or node.attrs["res"] == "post":
        return None
    pconv = node.inputs[0]
    if pconv.op != "pconv" or only_user(pconv, users) is not node:
        return None
    attrs = pconv.attrs | {"act": node.attrs["act"], "res": node.attrs["res"]}
    weights = pconv.weights | {
        "w1": node.weights["weight"][:, :, 0, 0], "b1": node.weights["bias"],
    }  # fmt: skip
    inputs = [*pconv.inputs, *node.inputs[1:]]
    modules = merged(pconv, node)
    return Node("pconv_pointwise", inputs, node.shape, attrs, weights, modules)


def _block(node: Node, users: Users) -> Node | None:
    if not is_pointwise(node) or node.attrs["act"] != "none" or node.attrs["res"] == "post":
        return None
    first = node.inputs[0]
    if first.op != "pconv_pointwise" or first.attrs["res"] != "none":
        return None
    x = first.inputs[0]
    if only_user(first, users) is not node or node.shape != x.shape:
        return None
    if node.attrs["res"] == "pre" and node.inputs[1] is not x:
        return None
    attrs = first.attrs | {"res": node.attrs["res"]}
    weights = first.weights | {
        "w2": node.weights["weight"][:, :, 0, 0], "b2": node.weights["bias"],
    }  # fmt: skip
    return Node("pconv_block", [x], node.shape, attrs, weights, merged(first, node))
