"""A 1x1 convolution between two NCHW tensors stays NCHW: nothing changes layout for it alone.

After the layout pass it reads NCHW or the NHWC copy of an NCHW tensor, and what it writes is
copied back. ``pointwise_nchw`` computes the same without either copy (128 to 256 channels at 56²:
840 us instead of 865; Zen 5). Only for images that fill their vectors of pixels: at 7² a quarter of
the products would be padding.
"""

from __future__ import annotations

from schedules.pointwise_nchw import WIDEST, fits
from schedules.transpose import AXES
from tvm_flow.graph import Graph, Node, merged, only_user, rewrite
from tvm_flow.passes.fuse_pconv import is_pointwise

Users = dict[int, list[Node]]

#: Fewest vectors of pixels an image must have, and how much of them may be padding.
FEWEST, PADDING = 4, 0.1


def keep_nchw(graph: Graph) -> Graph:
    """Replace every transpose after a 1x1 convolution whose input is NCHW, both in one node."""
    return rewrite(graph, _rule)


def _rule(node: Node, users: Users) -> Node | None:
    conv = node.inputs[0] if node.op == "permute" and node.attrs["axes"] == AXES["nchw"] else None
    if conv is None or only_user(conv, users) is not node or not is_pointwise(conv, nchw=True):
        return None
    plain = conv.attrs["res"] == "none" and not conv.attrs.get("mix") and "icp" not in conv.attrs
    source = _nchw_input(conv)
    if not plain or source is None or not _fills_vectors(source.shape[2] * source.shape[3]):
        return None
    return Node("pointwise_nchw", [source], node.shape, {"act": conv.attrs["act"]}, conv.weights,
                merged(conv, node))  # fmt: skip


def _fills_vectors(pixels: int) -> bool:
    padding = -pixels % WIDEST
    return fits(pixels) and pixels >= FEWEST * WIDEST and padding <= PADDING * pixels


def _nchw_input(conv: Node) -> Node | None:
    """What a convolution reads, if that is NCHW or a copy of something NCHW."""
    source = conv.inputs[0]
    if conv.attrs["nchw"]:
        return source
    return (
        source.inputs[0]
        if source.op == "permute" and source.attrs["axes"] == AXES["nhwc"]
        else None
    )
