"""Which problem a node is, by which algorithms it can be computed, with which weights."""

from __future__ import annotations

from tvm_flow.ir.graph import Node
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import AXES, NCHW, NHWC, Problem, Workload
from tvm_flow.schedules.operators import (
    conv2d,
    conv3d,
    conv_transpose,
    depthwise,
    matmul,
    pooling,
    resize,
    transpose,
)

_WINDOW = ("kh", "kw", "sh", "sw", "ph", "pw")
#: Of convolutions, where they are not what a problem leaves out.
_MORE = ("dh", "dw", "pb", "pr", "groups", "post")


def problem_of(node: Node) -> Problem | None:
    """The problem that a node is; ``None`` for a node that is emitted as Relax."""
    maker = _MAKERS.get(node.op)
    return maker(node) if maker else None


def ways(node: Node, device: Device) -> list[Workload]:
    """The ways to compute a node on ``device``, the one to take without measurements first.

    Empty for a node that is emitted as Relax.
    """
    problem = problem_of(node)
    if problem is None:
        return []
    return [Workload(problem, way.name) for way in registry.algorithms(problem, device)]


def _pixels(node: Node, *, nchw: bool = False) -> tuple[int, int, int, int]:
    """n, h, w, c of a node's first input."""
    shape = node.inputs[0].shape
    n, h, w, c = (shape[0], *shape[2:], shape[1]) if nchw else shape
    return n, h, w, c


def _conv2d(node: Node) -> Problem:
    a = node.attrs
    n, h, w, _ = _pixels(node, nchw=a["layout"] != NHWC)
    co, ci = node.weights["weight"].shape[:2]
    ci *= a.get("groups", 1)
    given = {k: a[k] for k in (*_WINDOW, "act", "res")}
    given |= {k: a[k] for k in (*_MORE, "icp", "ic0", "mix", "bcp", "bc0") if k in a}
    return conv2d.problem(layout=a["layout"], n=n, h=h, w=w, ci=ci, co=co, **given)


def _conv_transpose(node: Node) -> Problem:
    a, (n, h, w, _) = node.attrs, _pixels(node)
    co, ci = node.weights["weight"].shape[:2]
    ci *= a.get("groups", 1)
    given = {k: a[k] for k in (*_WINDOW, *_MORE, "act", "res", "icp", "ic0") if k in a}
    oh, ow = node.shape[1:3]
    return conv_transpose.problem(n=n, h=h, w=w, ci=ci, co=co, oh=oh, ow=ow, **given)


def _conv3d(node: Node) -> Problem:
    a, (n, rows, w, _) = node.attrs, _pixels(node)
    co, ci = node.weights["weight"].shape[:2]
    ci *= a.get("groups", 1)
    deep = ("d", "kd", "sd", "pd", "dd")
    given = {k: a[k] for k in (*deep, *_WINDOW, *_MORE, "act", "res", "icp", "ic0") if k in a}
    return conv3d.problem(n=n, h=rows // a["d"], w=w, ci=ci, co=co, **given)


def _resize(node: Node) -> Problem:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    oh, ow = node.shape[1:3]
    given = {k: a[k] for k in ("method", "mode", "rounding", "act", "res", "cp", "c0") if k in a}
    return resize.problem(n=n, h=h, w=w, c=a.get("channels", c), oh=oh, ow=ow, **given)


def _depthwise(node: Node) -> Problem:
    a, layout = node.attrs, node.attrs.get("layout", NHWC)
    n, h, w, c = _pixels(node, nchw=layout == NCHW)
    given = {k: a[k] for k in (*_WINDOW, *_MORE, "cp", "c0") if k in a}
    given |= {"act": a.get("act", "none")}
    return depthwise.problem(layout=layout, n=n, h=h, w=w, c=a.get("channels", c), **given)


def _pool2d(node: Node) -> Problem:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    given = {k: a[k] for k in (*_WINDOW, *_MORE, "mode", "cp", "c0") if k in a}
    return pooling.problem(n=n, h=h, w=w, c=a.get("channels", c), **given)


def _global_pool(node: Node) -> Problem:
    n, h, w, c = node.inputs[0].shape
    return Problem.make("global_pool", n=n, h=h, w=w, c=c)


def _pconv(node: Node) -> Problem:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    given = {"n": n, "h": h, "w": w, "c": c, "cc": a["cc"], "k": a["k"]}
    given |= {k: a[k] for k in ("first", "d", "inner") if k in a}
    if node.op != "pconv":
        given |= {"act": a["act"], "res": a["res"]}
        width = "hidden" if node.op == "pconv_block" else "co"
        given[width] = node.weights["w1"].shape[0]
    return Problem.make(node.op, **given)


def _permute(node: Node) -> Problem | None:
    if len(node.shape) != 4 or node.dtype != FLOAT32:
        return None
    axes = node.attrs["axes"]
    n, h, w, c = _pixels(node, nchw=axes == AXES[NHWC])
    return transpose.problem(n, c, h, w, axes)


def _channel_shuffle(node: Node) -> Problem | None:
    if node.dtype != FLOAT32:
        return None
    n, h, w, c = node.shape
    return Problem.make(node.op, n=n, h=h, w=w, c=c, groups=node.attrs["groups"])


def _matmul(node: Node) -> Problem | None:
    x, w = (source.shape for source in node.inputs)
    return matmul.problem(x, w, ta=node.attrs["ta"], tb=node.attrs["tb"])


def _mbconv(node: Node) -> Problem:
    a, (n, h, w, c) = node.attrs, node.inputs[0].shape
    hid, ci = node.weights["w1"].shape
    given = {"n": n, "h": h, "w": w, "ci": ci, "hid": hid, "co": node.weights["w2"].shape[0]}
    given |= {"icp": c, "ic0": 0, "mix": 0, "bcp": 0, "bc0": 0} | a
    return Problem.make(node.op, **given)


_MAKERS = {
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "resize": _resize,
    "conv_transpose": _conv_transpose,
    "depthwise": _depthwise,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "matmul": _matmul,
    "mbconv": _mbconv,
    "permute": _permute,
    "channel_shuffle": _channel_shuffle,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
}
