"""Which operator family computes a node, at which workload, with which weights."""

from __future__ import annotations

import numpy as np

from schedules import conv2d, depthwise, pool
from schedules.base import Workload
from tvm_flow.graph import Array, Node

_WINDOW = ("kh", "kw", "sh", "sw", "ph", "pw")


def workload_of(node: Node) -> Workload | None:
    """The workload, or ``None`` for a node that is emitted as Relax."""
    maker = _MAKERS.get(node.op)
    return maker(node) if maker else None


def plain_weights(node: Node) -> dict[str, Array]:
    """Weights under the names the family's ``pack`` expects, fp32 and contiguous."""
    return {k: np.ascontiguousarray(v, np.float32) for k, v in node.weights.items()}


def _conv2d(node: Node) -> Workload:
    a, x = node.attrs, node.inputs[0].shape
    n, h, w = (x[0], x[2], x[3]) if a["nchw"] else x[:3]
    co, ci = node.weights["weight"].shape[:2]
    given = {k: a[k] for k in (*_WINDOW, "nchw", "act", "res")}
    given |= {k: a[k] for k in ("icp", "ic0", "mix", "bcp", "bc0") if k in a}
    return conv2d.workload(n=n, h=h, w=w, ci=ci, co=co, **given)


def _depthwise(node: Node) -> Workload:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    given = {k: a[k] for k in (*_WINDOW, "cp", "c0") if k in a}
    given |= {"act": a.get("act", "none")}
    return depthwise.workload(n=n, h=h, w=w, c=a.get("channels", c), **given)


def _pool2d(node: Node) -> Workload:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    given = {k: a[k] for k in (*_WINDOW, "mode", "cp", "c0") if k in a}
    return pool.workload(n=n, h=h, w=w, c=a.get("channels", c), **given)


def _global_pool(node: Node) -> Workload:
    n, h, w, c = node.inputs[0].shape
    return Workload.make("global_pool", n=n, h=h, w=w, c=c)


def _pconv(node: Node) -> Workload:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    given = {"n": n, "h": h, "w": w, "c": c, "cc": a["cc"], "k": a["k"]}
    if node.op != "pconv":
        given |= {"act": a["act"], "res": a["res"]}
        width = "hidden" if node.op == "pconv_block" else "co"
        given[width] = node.weights["w1"].shape[0]
    return Workload.make(node.op, **given)


_MAKERS = {
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
}
