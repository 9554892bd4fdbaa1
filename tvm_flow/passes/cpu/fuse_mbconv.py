"""1x1 -> depthwise -> 1x1 becomes one operator where the tensor between does not fit the cache.

The fused operator never stores the hidden tensor (``schedules/cpu/ops/mbconv/rows.py``). That saves
its way to memory and back, and costs a little register-tile efficiency, since it works row by row.
So it is for hidden tensors larger than the last cache, which on the small boards is 1 MiB or less.
Smaller ones are the subject of ``choose_mbconv``, which knows what each way takes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite
from tvm_flow.passes.common.fuse_pconv import is_pointwise
from tvm_flow.schedules.contract.problem import NHWC

Users = dict[int, list[Node]]
Chain = tuple[Node, Node, Node]  # 1x1, depthwise, 1x1


def fuse_mbconv(graph: Graph, cache_bytes: float) -> Graph:
    """Fuse every 1x1 -> depthwise -> 1x1 chain whose hidden tensor exceeds ``cache_bytes``."""
    return fuse_chains(graph, lambda chain: chain[0].bytes > cache_bytes)


def fuse_chains(graph: Graph, wanted: Callable[[Chain], bool]) -> Graph:
    """Replace every 1x1 -> depthwise -> 1x1 chain that is ``wanted`` by one operator."""
    return rewrite(graph, partial(_rule, wanted))


def chain_at(node: Node, users: Users) -> Chain | None:
    """The chain that ends in ``node`` and can be fused, if there is one."""
    if not is_pointwise(node) or "icp" in node.attrs:
        return None
    depthwise = node.inputs[0]
    if not _square_depthwise(depthwise) or only_user(depthwise, users) is not node:
        return None
    first = depthwise.inputs[0]
    plain = is_pointwise(first) and first.attrs["res"] == "none" and not first.attrs.get("mix")
    if not plain or only_user(first, users) is not depthwise:
        return None
    return first, depthwise, node


def fused(chain: Chain) -> Node:
    """The operator that computes a chain."""
    first, depthwise, node = chain
    attrs = {
        "k": depthwise.attrs["kh"], "st": depthwise.attrs["sh"],
        "act1": first.attrs["act"], "act2": depthwise.attrs.get("act", "none"),
        "act": node.attrs["act"], "res": node.attrs["res"],
    } | {k: first.attrs[k] for k in ("icp", "ic0") if k in first.attrs} | {
        k: node.attrs[k] for k in ("mix", "bcp", "bc0") if k in node.attrs
    }  # fmt: skip
    weights = {
        "w1": first.weights["weight"][:, :, 0, 0], "b1": first.weights["bias"],
        "dw": depthwise.weights["weight"], "dwb": depthwise.weights["bias"],
        "w2": node.weights["weight"][:, :, 0, 0], "b2": node.weights["bias"],
    }  # fmt: skip
    inputs = [first.inputs[0], *node.inputs[1:]]
    return Node("mbconv", inputs, node.shape, attrs, weights, merged(first, depthwise, node))


def _rule(wanted: Callable[[Chain], bool], node: Node, users: Users) -> Node | None:
    chain = chain_at(node, users)
    return fused(chain) if chain and wanted(chain) else None


def _square_depthwise(node: Node) -> bool:
    a = node.attrs
    return (
        node.op == "depthwise"
        and "cp" not in a
        and a.get("layout", NHWC) == NHWC
        and a["kh"] == a["kw"]
        and a["kh"] % 2 == 1
        and a["sh"] == a["sw"] <= a["kh"]
        and a["ph"] == a["pw"] == a["kh"] // 2
        and not a.keys() & {"dh", "dw", "pb", "pr", "post"}
    )
