"""Split, concat and shuffle are index maps: fold them into the loads and stores of kernels.

A channel slice becomes an offset of the consumer's load; ``concat_shuffle(a, conv)`` becomes the
interleaving store of the convolution, with ``a`` read in passing; a shuffle of what one convolution
in one group computes becomes the order of its weights.
"""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite
from tvm_flow.schedules.contract.problem import NCHW, NHWC

Users = dict[int, list[Node]]


def fold_views(graph: Graph) -> Graph:
    """No copy kernel is left for a split, or for the concat and shuffle of a ShuffleNet unit."""
    graph = rewrite(rewrite(graph, _shuffled_store), _shuffled_weights)
    return rewrite(graph, _sliced_load)


def channels_of(node: Node) -> tuple[Node, int] | None:
    """(tensor, first channel) of an NHWC channel slice."""
    if node.op == "slice" and node.attrs["axis"] == 3:
        return node.inputs[0], node.attrs["start"]
    return None


def _shuffled_store(node: Node, users: Users) -> Node | None:
    if node.op != "concat_shuffle":
        return None
    bypass, conv = node.inputs
    fits = conv.op == "conv2d" and not conv.attrs.get("mix") and only_user(conv, users) is node
    if not fits or bypass is conv or conv.attrs["layout"] == NCHW:
        return None
    source, first = channels_of(bypass) or (bypass, 0)
    attrs = conv.attrs | {"mix": 1, "bcp": source.shape[3], "bc0": first}
    inputs = [*conv.inputs, source]
    return Node("conv2d", inputs, node.shape, attrs, conv.weights, merged(conv, node))


def _shuffled_weights(node: Node, users: Users) -> Node | None:
    conv = node.inputs[0] if node.op == "channel_shuffle" else None
    if conv is None or conv.op != "conv2d" or only_user(conv, users) is not node:
        return None
    a = conv.attrs
    if a["layout"] == NCHW or a["res"] != "none" or a.get("mix") or a.get("groups", 1) > 1:
        return None
    order = np.arange(node.shape[3]).reshape(node.attrs["groups"], -1).T.reshape(-1)
    weights = {name: value[order] for name, value in conv.weights.items()}
    return Node("conv2d", conv.inputs, node.shape, a, weights, merged(conv, node))


def _sliced_load(node: Node, users: Users) -> Node | None:
    if node.op not in ("conv2d", "conv3d", "conv_transpose", "depthwise", "pool2d", "resize"):
        return None
    if node.attrs.get("layout", NHWC) != NHWC:
        return None
    view = channels_of(node.inputs[0])
    if view is None:
        return None
    source, first = view
    channels = node.inputs[0].shape[3]
    pitch, start = ("icp", "ic0") if node.op.startswith("conv") else ("cp", "c0")
    attrs = node.attrs | {pitch: source.shape[3], start: first, "channels": channels}
    return Node(node.op, [source, *node.inputs[1:]], node.shape, attrs, node.weights,
                node.modules)  # fmt: skip
