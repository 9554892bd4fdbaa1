"""Activation and residual addition move into the kernel that produces their operand."""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite

Users = dict[int, list[Node]]

#: What can add another tensor to its result.
_ADDS = frozenset({"conv2d", "conv3d", "conv_transpose", "resize"})
#: What can scale its channels after its activation.
_SCALES = frozenset({"conv2d", "depthwise"})


def fuse_epilogue(graph: Graph) -> Graph:
    """``act`` after a convolution, and a scale and shift after that; ``add`` after one that sums
    over channels (before or after its activation)."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: Users) -> Node | None:
    if node.op == "act":
        return _activation(node, users) or _through_reshape(node, users)
    if node.op == "depthwise":
        return _scaled(node, users)
    if node.op == "add" and len(node.inputs) == 2 and node.inputs[0].shape == node.inputs[1].shape:
        for conv, other in (node.inputs[::-1], node.inputs):
            fused = _residual(node, conv, other, users)
            fused = fused or _residual_through_reshape(node, conv, other, users)
            if fused is not None:
                return fused
    return None


def _activation(node: Node, users: Users) -> Node | None:
    source = node.inputs[0]
    activates = source.op in _ADDS or source.op == "depthwise"
    fits = activates and source.attrs.get("act", "none") == "none"
    done = source.attrs.get("res") == "post" or "post" in source.attrs
    if not fits or done or only_user(source, users) is not node:
        return None
    attrs = source.attrs | {"act": node.attrs["kind"]}
    return Node(source.op, source.inputs, source.shape, attrs, source.weights,
                merged(source, node))  # fmt: skip


def _scaled(node: Node, users: Users) -> Node | None:
    """A scale and a shift per channel, which the layout pass makes a depthwise convolution of,
    after the activation; not before another one, which comes with the scale at no cost."""
    source, a = node.inputs[0], node.attrs
    plain = all(a[k] == 1 for k in ("kh", "kw", "sh", "sw")) and not (a["ph"] or a["pw"])
    if not plain or a.keys() & {"cp", "pb", "pr"} or a.get("act", "none") != "none":
        return None
    if source.op not in _SCALES or only_user(source, users) is not node:
        return None
    done = source.attrs.get("res") == "post" or source.attrs.keys() & {"post", "mix"}
    if done or any(user.op == "act" for user in users.get(id(node), [])):
        return None
    weights = source.weights | {
        "post_scale": node.weights["weight"].reshape(-1), "post_shift": node.weights["bias"],
    }  # fmt: skip
    attrs = source.attrs | {"post": 1}
    return Node(source.op, source.inputs, source.shape, attrs, weights, merged(source, node))


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
    if not _adds(conv, other) or only_user(conv, users) is not node:
        return None
    return _plus(conv, other, node)


def _residual_through_reshape(node: Node, turned: Node, other: Node, users: Users) -> Node | None:
    """reshape(conv) + x = reshape(conv + reshape(x)), as dense layers end."""
    if turned.op != "reshape" or only_user(turned, users) is not node:
        return None
    conv = turned.inputs[0]
    if not _adds(conv, other) or only_user(conv, users) is not turned:
        return None
    view = Node("reshape", [other], conv.shape, {"shape": conv.shape}, dtype=other.dtype)
    return Node("reshape", [_plus(conv, view, node)], node.shape, turned.attrs, dtype=node.dtype)


def _adds(conv: Node, other: Node) -> bool:
    fits = conv.op in _ADDS and conv.attrs["res"] == "none"
    return fits and other.op != "const" and other is not conv


def _plus(conv: Node, other: Node, node: Node) -> Node:
    """``conv`` with the addition of ``other``, which ``node`` was."""
    res = "pre" if conv.attrs["act"] == "none" and "post" not in conv.attrs else "post"
    attrs = conv.attrs | {"res": res}
    return Node(conv.op, [conv.inputs[0], other], conv.shape, attrs, conv.weights,
                merged(conv, node))  # fmt: skip
