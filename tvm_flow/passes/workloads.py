"""Which operator families can compute a node, at which workload, with which weights."""

from __future__ import annotations

import numpy as np

from schedules import conv2d, depthwise, pool
from schedules.base import Workload
from tvm_flow.graph import Array, Node

_WINDOW = ("kh", "kw", "sh", "sw", "ph", "pw")


#: A Winograd's transformed weights are up to four times the plain ones; above this size they come
#: from memory for every block of pixels and the direct algorithm wins.
WINOGRAD_WEIGHT_BYTES = 4 << 20
WINOGRAD_CHANNELS = 16


def candidates(node: Node) -> list[Workload]:
    """The ways to compute a node, the one to take without measurements first.

    Empty for a node that is emitted as Relax.
    """
    maker = _MAKERS.get(node.op)
    if maker is None:
        return []
    direct = maker(node)
    wino = _winograd(node, direct)
    if wino is None:
        return [direct]
    return [wino, direct] if _winograd_pays(node) else [direct, wino]


def workload_of(node: Node) -> Workload | None:
    """The candidate to take without measurements, or ``None``."""
    return next(iter(candidates(node)), None)


def _winograd(node: Node, direct: Workload) -> Workload | None:
    """The same by Winograd F(4x4, 3x3), where that exists."""
    a = node.attrs
    if node.op.startswith("pconv"):
        return Workload.make(node.op, **dict(direct.params), wino=4) if a["k"] == 3 else None
    if node.op != "conv2d" or a["nchw"] or a.get("mix"):
        return None
    if tuple(a[k] for k in _WINDOW) != (3, 3, 1, 1, 1, 1):
        return None
    kept = {
        k: v
        for k, v in direct.params
        if k in ("n", "h", "w", "ci", "co", "icp", "ic0", "act", "res")
    }
    return Workload.make("conv2d_winograd", m=4, **kept)


def _winograd_pays(node: Node) -> bool:
    weight = node.weights["conv" if node.op.startswith("pconv") else "weight"]
    co, ci = weight.shape[:2]
    pixels = node.shape[1] * node.shape[2]
    large = 36 * 4 * co * ci > WINOGRAD_WEIGHT_BYTES
    return min(ci, co) >= WINOGRAD_CHANNELS and pixels >= 49 and not large


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


def _mbconv(node: Node) -> Workload:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    hid, ci = node.weights["w1"].shape
    given = {"n": n, "h": h, "w": w, "ci": ci, "hid": hid, "co": node.weights["w2"].shape[0]}
    given |= {"icp": c, "ic0": 0, "mix": 0, "bcp": 0, "bc0": 0} | a
    return Workload.make("mbconv", **given)


_MAKERS = {
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "mbconv": _mbconv,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
}
