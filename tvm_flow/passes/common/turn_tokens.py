"""Images become lists of pixels and back in the layout that has a pixel's channels together.

``x.flatten(2).transpose(1, 2)`` of an image is a change to NHWC, after which the list is a view;
the way back is the same. So that a convolution that computes in NHWC copies nothing on either side.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, rewrite
from tvm_flow.schedules.contract.problem import AXES, NCHW, NHWC

#: Of a batch of matrices.
_TURNED = (0, 2, 1)


def turn_tokens(graph: Graph) -> Graph:
    """Let 4-D tensors change layout instead of 3-D ones."""
    return rewrite(graph, _rule)


def _rule(node: Node, _users: dict[int, list[Node]]) -> Node | None:
    source = node.inputs[0] if node.inputs else None
    if source is None:
        return None
    if node.op == "permute" and node.attrs["axes"] == _TURNED:
        return _pixels(node, source)
    return _image(node, source) if node.op == "reshape" else None


def _pixels(node: Node, flat: Node) -> Node | None:
    """[n, c, h, w] -> [n, h * w, c]."""
    if flat.op != "reshape" or len(flat.inputs[0].shape) != 4:
        return None
    image = flat.inputs[0]
    if image.shape[:2] != flat.shape[:2]:
        return None
    n, c, h, w = image.shape
    turned = Node("permute", [image], (n, h, w, c), {"axes": AXES[NHWC]}, dtype=node.dtype)
    return _reshaped(turned, node.shape)


def _image(node: Node, turned: Node) -> Node | None:
    """[n, h * w, c] -> [n, c, h, w]."""
    if turned.op != "permute" or turned.attrs["axes"] != _TURNED or len(node.shape) != 4:
        return None
    n, c, h, w = node.shape
    if (n, c) != turned.shape[:2]:
        return None
    image = _reshaped(turned.inputs[0], (n, h, w, c))
    return Node("permute", [image], node.shape, {"axes": AXES[NCHW]}, dtype=node.dtype)


def _reshaped(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("reshape", [x], shape, {"shape": shape}, dtype=x.dtype)
