"""Convolutions between NCHW tensors that mix no pixels or no channels stay NCHW: nothing changes
layout for them alone.

After the layout pass they read NCHW or the NHWC copy of an NCHW tensor, and what they write is
copied back. In the layout ``nchw`` the same is computed without either copy.

A 1x1 only for images that fill their vectors of pixels, but for one pixel: of 2² to 6² a quarter of
the products and more would be padding.

Depthwise only for rows that fill vectors of columns, and for small windows: each tap costs the same
per vector, full or not, and the copies the same for all windows. Where only the input is NCHW, it
pays if the output, which is copied then, is smaller. Decision 0006 has what each of these takes.
"""

from __future__ import annotations

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite
from tvm_flow.passes.common.fuse_pconv import is_pointwise
from tvm_flow.passes.cpu.to_nhwc import cancel_permutes
from tvm_flow.schedules.contract.problem import AXES, NCHW, NCHW_TO_NHWC, NHWC
from tvm_flow.schedules.cpu.ops.conv2d.direct_nchw import WIDEST, fits

Users = dict[int, list[Node]]

#: Fewest vectors of pixels an image must have, and how much of them may be padding.
FEWEST, PADDING = 3, 0.1
#: Fewest columns of the input of a depthwise convolution, most taps, greatest step along a row.
COLUMNS, TAPS, STEP = 14, 9, 2


def keep_nchw(graph: Graph) -> Graph:
    """Replace 1x1 convolutions between two transposes by a node that needs none, and depthwise
    convolutions after a transpose by one before it where that is less work."""
    return rewrite(rewrite(rewrite(graph, _depthwise), cancel_permutes), _pointwise)


def _pointwise(node: Node, users: Users) -> Node | None:
    conv = node.inputs[0] if _turns(node, NCHW) else None
    if conv is None or only_user(conv, users) is not node:
        return None
    if not is_pointwise(conv, (NHWC, NCHW_TO_NHWC), grouped=True):
        return None
    plain = conv.attrs["res"] == "none" and not conv.attrs.get("mix") and "icp" not in conv.attrs
    source = _nchw_input(conv)
    if not plain or source is None or not _fills_vectors(source.shape[2] * source.shape[3]):
        return None
    attrs = conv.attrs | {"layout": NCHW}
    return Node("conv2d", [source], node.shape, attrs, conv.weights, merged(conv, node))


def _fills_vectors(pixels: int) -> bool:
    padding = 0 if pixels % WIDEST == 1 else -pixels % WIDEST  # one has vectors of its own
    return fits(pixels) and pixels >= FEWEST * WIDEST and padding <= PADDING * pixels


def _nchw_input(conv: Node) -> Node | None:
    """What a convolution reads, if that is NCHW or a copy of something NCHW."""
    source = conv.inputs[0]
    if conv.attrs["layout"] == NCHW_TO_NHWC:
        return source
    return source.inputs[0] if _turns(source, NHWC) else None


def _depthwise(node: Node, users: Users) -> Node | None:
    a = node.attrs
    if node.op != "depthwise" or a.get("layout", NHWC) != NHWC or "post" in a:
        return None
    turned = node.inputs[0]
    if not _turns(turned, NHWC) or only_user(turned, users) is not node:
        return None
    back = all(_turns(user, NCHW) for user in users[id(node)])
    small = a["kh"] * a["kw"] <= TAPS and a["sw"] <= STEP and turned.shape[2] >= COLUMNS
    if not small or not (back or node.bytes < turned.bytes):
        return None
    n, h, w, c = node.shape
    attrs = a | {"layout": NCHW}
    inner = Node("depthwise", turned.inputs, (n, c, h, w), attrs, node.weights, node.modules)
    return Node("permute", [inner], node.shape, {"axes": AXES[NHWC]})


def _turns(node: Node, to: str) -> bool:
    return node.op == "permute" and node.attrs["axes"] == AXES[to]
