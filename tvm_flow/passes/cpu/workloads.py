"""Which operator families can compute a node, at which workload, with which weights."""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Array, Node
from tvm_flow.schedules.contract.base import Workload
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.emit import strassen
from tvm_flow.schedules.cpu.ops import pooling as pool
from tvm_flow.schedules.cpu.ops import transpose
from tvm_flow.schedules.cpu.ops.conv2d import direct as conv2d
from tvm_flow.schedules.cpu.ops.depthwise import nhwc as depthwise

_WINDOW = ("kh", "kw", "sh", "sw", "ph", "pw")


#: Fewest channels for which Winograd's transforms are worth their while.
WINOGRAD_CHANNELS = 16
#: What reading one weight from memory costs, in multiply-accumulates. Read off ResNet-18 on Zen 4;
#: a Cortex-A72 (7 G multiply-accumulates and 5 GB/s) is not far from it.
WEIGHT_COST = 12
#: In a PConv the transformed weights compete for the cache with those of the 1x1s after it: above
#: this many bytes the direct algorithm wins, and F(2x2) above so many channels on small pictures.
PCONV_WEIGHT_BYTES, PCONV_F2_CHANNELS, PCONV_F2_PIXELS = 4 << 20, 96, 196
#: Fewest channels and pixels of a PConv for which Strassen's product is tried. It saves time per
#: pixel, and every run reads its larger weights once.
STRASSEN_CHANNELS, STRASSEN_PIXELS = 64, 49


def candidates(node: Node) -> list[Workload]:
    """The ways to compute a node, the one to take without measurements first.

    Empty for a node that is emitted as Relax.
    """
    maker = _MAKERS.get(node.op)
    if maker is None:
        return []
    direct = maker(node)
    if direct is None:
        return []
    if node.op.startswith("pconv"):
        return _pconv_candidates(node, direct)
    if node.op.startswith("mbconv"):
        other = "mbconv" if node.op == "mbconv_whole" else "mbconv_whole"
        return [direct, Workload.make(other, **dict(direct.params))]
    return _conv2d_candidates(node, direct) if node.op == "conv2d" else [direct]


def workload_of(node: Node) -> Workload | None:
    """The candidate to take without measurements, or ``None``."""
    return next(iter(candidates(node)), None)


def _pconv_candidates(node: Node, direct: Workload) -> list[Workload]:
    """Direct, F(2x2) and F(4x4), each with plain 1x1s and, where they fit, with Strassen's."""
    if node.attrs["k"] != 3:
        return [direct]
    channels, pixels = node.attrs["cc"], node.shape[1] * node.shape[2]
    small = channels >= PCONV_F2_CHANNELS and pixels <= PCONV_F2_PIXELS
    two, four = (_with(direct, wino=m) for m in (2, 4))
    large = 36 * node.element_bytes * channels**2 > PCONV_WEIGHT_BYTES
    pays = channels >= WINOGRAD_CHANNELS and pixels >= 49 and not large
    wino = [two, four] if small else [four, two]
    plain = [*wino, direct] if pays else [direct, *wino]
    fits = _strassen_fits(node)
    return [*plain, *(_with(way, strassen=1) for way in plain if fits)]


def _with(workload: Workload, **more: int) -> Workload:
    return Workload.make(workload.op, **dict(workload.params), **more)


def _strassen_fits(node: Node) -> bool:
    """Whether the 1x1s may be worth a level of Strassen. Only records decide that: its weights are
    1.75 times the plain ones."""
    pixels = node.shape[1] * node.shape[2]
    small = pixels < STRASSEN_PIXELS or node.inputs[0].shape[3] < STRASSEN_CHANNELS
    if node.op == "pconv" or small:
        return False
    sizes = [weight.shape[:2] for name, weight in node.weights.items() if name in ("w1", "w2")]
    return all(strassen.fits(k, n) for n, k in sizes)


def _conv2d_candidates(node: Node, direct: Workload) -> list[Workload]:
    """Direct, F(2x2) and F(4x4), where these exist."""
    a = node.attrs
    window = tuple(a[k] for k in _WINDOW)
    if a["nchw"] or a.get("mix") or window != (3, 3, 1, 1, 1, 1):
        return [direct]
    _, h, w, co = node.shape
    kept = {
        k: v
        for k, v in direct.params
        if k in ("n", "h", "w", "ci", "co", "icp", "ic0", "act", "res")
    }
    sizes = sorted((2, 4), key=lambda m: _winograd_cost(m, h, w))
    wino = [Workload.make("conv2d_winograd", m=m, **kept) for m in sizes]
    pays = _winograd_cost(sizes[0], h, w) < 9 * (h * w + WEIGHT_COST)
    narrow = min(co, direct["ci"]) < WINOGRAD_CHANNELS
    return [*wino, direct] if pays and not narrow else [direct, *wino]


def _winograd_cost(m: int, h: int, w: int) -> int:
    """Multiply-accumulates and weights to read, per input and output channel."""
    return (m + 2) ** 2 * (-(-h // m) * -(-w // m) + WEIGHT_COST)


def plain_weights(node: Node) -> dict[str, Array]:
    """Weights under the names the family's ``pack`` expects, contiguous."""
    return {k: np.ascontiguousarray(v) for k, v in node.weights.items()}


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


def _depthwise_nchw(node: Node) -> Workload:
    a, (n, c, h, w) = node.attrs, node.inputs[0].shape
    window = {k: a[k] for k in _WINDOW}
    return Workload.make("depthwise_nchw", n=n, h=h, w=w, c=c, act=a.get("act", "none"), **window)


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


def _permute(node: Node) -> Workload | None:
    if len(node.shape) != 4 or node.dtype != FLOAT32:
        return None
    axes = node.attrs["axes"]
    n, *rest = node.inputs[0].shape
    c, h, w = rest if axes == transpose.AXES["nhwc"] else (rest[2], *rest[:2])
    return transpose.workload(n, c, h, w, axes)


def _pointwise_nchw(node: Node) -> Workload:
    n, ci, h, w = node.inputs[0].shape
    act = node.attrs["act"]
    return Workload.make("pointwise_nchw", n=n, h=h, w=w, ci=ci, co=node.shape[1], act=act)


def _mbconv(node: Node) -> Workload:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    hid, ci = node.weights["w1"].shape
    given = {"n": n, "h": h, "w": w, "ci": ci, "hid": hid, "co": node.weights["w2"].shape[0]}
    given |= {"icp": c, "ic0": 0, "mix": 0, "bcp": 0, "bc0": 0} | a
    return Workload.make(node.op, **given)


_MAKERS = {
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "depthwise_nchw": _depthwise_nchw,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "mbconv": _mbconv,
    "mbconv_whole": _mbconv,
    "permute": _permute,
    "pointwise_nchw": _pointwise_nchw,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
}
