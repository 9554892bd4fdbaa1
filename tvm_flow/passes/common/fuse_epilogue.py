"""Activation and residual addition move into the kernel that produces their operand."""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite

Users = dict[int, list[Node]]

#: What can add another tensor to its result.
_ADDS = frozenset({"conv2d", "conv3d", "conv_transpose", "resize"})


def fuse_epilogue(graph: Graph) -> Graph:
    """``act`` after a convolution; ``add`` after one that sums over channels (before or after its
    activation)."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: Users) -> Node | None:
    if node.op == "act":
        return _activation(node, users) or _through_reshape(node, users)
    if node.op == "add" and len(node.inputs) == 2 and node.inputs[0].shape == node.inputs[1].shape:
        for conv, other in (node.inputs[::-1], node.inputs):
            fused = _residual(node, conv, other, users)
            if fused is not None:
                return fused
    return None


def _activation(node: Node, users: Users) -> Node | None:
    source = node.inputs[0]
    activates = source.op in _ADDS or source.op == "depthwise"
    fits = activates and source.attrs.get("act", "none") == "none"
    if not fits or source.attrs.get("res") == "post" or only_user(source, users) is not node:
        return None
    attrs = source.attrs | {"act": node.attrs["kind"]}
    return Node(source.op, source.inputs, source.shape, attrs, source.weights,
                merged(source, node))  # fmt: skip


def _through_reshape(node: Node, users: Users) -> Node | None:
    """act(reshape(conv)) = reshape(act(conv)): dense layers end in a reshape."""
    source = node.inputs[0]
    if source.op != "reshape" or only_user(source, users) is not node:
        return None
    inner = Node("act", source.inputs, source.inputs[0].shape, node.attrs, modules=node.modules)
    users[id(inner)] = [source]
    users[id(source.inputs[0])] = [
        inner if user is source else user for user in users.get(id(source.inputs[0]), [])
    ]
    fused = _activation(inner, users)
    if fused is None:
        return None
    return Node("reshape", [fused], node.shape, source.attrs)


def _residual(node: Node, conv: Node, other: Node, users: Users) -> Node | None:
    fits = conv.op in _ADDS and conv.attrs["res"] == "none" and other.op != "const"
    if not fits or other is conv or only_user(conv, users) is not node:
        return None
    res = "pre" if conv.attrs["act"] == "none" else "post"
    attrs = conv.attrs | {"res": res}
    return Node(conv.op, [conv.inputs[0], other], conv.shape, attrs, conv.weights,
                merged(conv, node))  # fmt: skip
