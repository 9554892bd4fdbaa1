"""Awkward shapes for every algorithm: odd channel counts, one-pixel images, batches."""

from __future__ import annotations

from typing import Any

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import (
    NCHW,
    NCHW_TO_NHWC,
    NHWC_TO_NCHW,
    Problem,
    Workload,
)
from tvm_flow.schedules.operators import (
    conv2d,
    conv3d,
    conv_transpose,
    depthwise,
    matmul,
    pooling,
    resize,
)
from tvm_flow.schedules.operators.activations import ACTIVATIONS


def _direct(problem: Problem | None) -> Workload:
    assert problem is not None
    return Workload(problem, "direct")


def _conv(
    n: int, size: int, ci: int, co: int, k: int = 1, s: int = 1, p: int = 0, **more: Any
) -> Workload:
    window = {"kh": k, "kw": k, "sh": s, "sw": s, "ph": p, "pw": p}
    given = {"n": n, "h": size, "w": size, "ci": ci, "co": co, **window, **more}
    return _direct(conv2d.problem(**given))


def _depthwise(n: int, size: int, c: int, k: int, s: int, **more: Any) -> Workload:
    window = {"kh": k, "kw": k, "sh": s, "sw": s, "ph": k // 2, "pw": k // 2}
    given = {"n": n, "h": size, "w": size, "c": c, **window, **more}
    return _direct(depthwise.problem(**given))


def _pool(mode: str, n: int, size: int, c: int, k: int, s: int, p: int, **more: Any) -> Workload:
    window = {"kh": k, "kw": k, "sh": s, "sw": s, "ph": p, "pw": p}
    given = {"n": n, "h": size, "w": size, "c": c, "mode": mode, **window, **more}
    return _direct(pooling.problem(**given))


def _partial(
    op: str, n: int, h: int, w: int, c: int, cc: int, k: int = 3, by: str = "direct", **more: Any
) -> Workload:
    return Workload(Problem.make(op, n=n, h=h, w=w, c=c, cc=cc, k=k, **more), by)


def _strassen(m: int, op: str, *shape: int, **more: Any) -> Workload:
    """With Strassen's 1x1s; ``m``: size of Winograd's tiles, 0 for a direct convolution."""
    by = f"winograd{m}_strassen" if m else "direct_strassen"
    return Workload(_partial(op, *shape, **more).problem, by)


def _winograd(n: int, h: int, w: int, ci: int, co: int, m: int, **more: Any) -> Workload:
    window = {"kh": 3, "kw": 3, "ph": 1, "pw": 1}
    given = {"n": n, "h": h, "w": w, "ci": ci, "co": co, **window, **more}
    return Workload(conv2d.problem(**given), f"winograd{m}")


def _mbconv(n: int, size: int, ci: int, hid: int, co: int, k: int = 3, **more: Any) -> Workload:
    given = {"n": n, "h": size, "w": size, "ci": ci, "hid": hid, "co": co, "k": k, "st": 1}
    epilogue = {"act": "none", "res": "none", "mix": 0, "bcp": 0, "bc0": 0}
    acts = {"act1": "relu", "act2": "none", "icp": ci, "ic0": 0}
    return Workload(Problem.of("mbconv", {**given, **epilogue, **acts, **more}), "rows")


def _transposed(
    n: int, size: int, ci: int, co: int, k: int = 2, s: int = 2, p: int = 0, more: int = 0,
    **given: Any,
) -> Workload:  # fmt: skip
    """``more``: rows and columns of output padding."""
    out = (size - 1) * s - 2 * p + k + more
    window = {"kh": k, "kw": k, "sh": s, "sw": s, "ph": p, "pw": p, "oh": out, "ow": out}
    shape = {"n": n, "h": size, "w": size, "ci": ci, "co": co}
    return _direct(conv_transpose.problem(**{**shape, **window, **given}))


def _volume(
    n: int, size: tuple[int, int, int], ci: int, co: int, k: int = 3, s: int = 1, p: int = 1,
    **more: Any,
) -> Workload:  # fmt: skip
    window = {"kd": k, "kh": k, "kw": k, "sd": s, "sh": s, "sw": s, "pd": p, "ph": p, "pw": p}
    shape = dict(zip("dhw", size, strict=True))
    return _direct(conv3d.problem(**{"n": n, "ci": ci, "co": co, **shape, **window, **more}))


def _global(n: int, size: int, c: int) -> Workload:
    return _direct(Problem.make("global_pool", n=n, h=size, w=size, c=c))


FLAT = [
    _conv(1, 7, 10, 20),
    _conv(3, 7, 20, 10, act="relu"),
    _conv(1, 15, 58, 20, act="gelu"),
    _conv(1, 1, 116, 122, act="relu6"),
    _conv(3, 1, 122, 232, act="hardswish"),
    _conv(1, 7, 232, 58, res="pre", act="relu"),
    _conv(3, 7, 10, 122, res="post", act="relu"),
    _conv(1, 1, 20, 10, res="pre"),
    _conv(1, 7, 58, 58, icp=116, ic0=58, act="relu"),
    _conv(1, 7, 10, 1),
    _conv(1, 2, 1, 3, act="sigmoid"),
    _conv(1, 7, 10, 122, act="hardswish", post=1),
    _conv(1, 40, 4, 33),
]
MIXED = [
    _conv(1, 7, 58, 58, mix=1, bcp=116, bc0=0, act="relu"),
    _conv(3, 7, 10, 10, mix=1, bcp=10, bc0=0, act="relu"),
    _conv(1, 15, 20, 58, mix=1, bcp=116, bc0=58, icp=40, ic0=20),
    _conv(1, 1, 116, 116, mix=1, bcp=116, bc0=0, act="silu"),
    _conv(1, 7, 8, 10, 3, 1, 1, mix=1, bcp=20, bc0=10, act="relu", res="post"),
    _conv(1, 3, 6, 1, mix=1, bcp=2, bc0=1),
]
DIRECT = [
    _conv(1, 15, 10, 20, 2, 2),
    _conv(3, 7, 20, 58, 2, 1),
    _conv(1, 15, 58, 10, 3, 2, act="relu"),
    _conv(1, 15, 10, 116, 4, 4),
    _conv(1, 7, 20, 10, 5, 1, act="gelu", res="post"),
    _conv(1, 7, 10, 20, 7, 1),
    _conv(1, 15, 122, 20, 1, 2, icp=130, ic0=3),
    _conv(1, 15, 10, 20, 3, 2, icp=20, ic0=10),
    _conv(1, 7, 10, 20, kh=1, kw=7, sh=1, sw=2),
]
PADDED = [
    _conv(1, 7, 10, 20, 3, 1, 1, act="relu"),
    _conv(3, 15, 20, 10, 3, 2, 1, act="gelu"),
    _conv(1, 1, 116, 20, 3, 1, 1),
    _conv(1, 7, 58, 122, 3, 1, 1, res="pre", act="relu"),
    _conv(1, 7, 20, 20, 3, 1, 1, icp=58, ic0=19, res="post", act="hardsigmoid"),
    _conv(1, 15, 10, 10, 5, 2, 2),
    _conv(1, 15, 3, 20, 7, 2, 3, act="relu"),
    _conv(1, 7, 10, 20, 4, 1, 2),
    _conv(3, 7, 10, 20, 2, 2, 1),
    _conv(1, 7, 10, 232, 1, 1, 1),
    _conv(1, 7, 10, 20, kh=3, kw=1, ph=1, pw=0),
    _conv(1, 7, 10, 58, 3, 1, 1, act="relu", res="post", post=1),
    _conv(1, 2, 10, 20, 3, 1, 3),
    _conv(1, 15, 10, 20, w=5, kh=5, kw=3, sh=2, sw=1, ph=2, pw=1),
]
FIRST_LAYER = [
    _conv(1, 15, 3, 20, 3, 2, 1, layout=NCHW_TO_NHWC, act="relu"),
    _conv(3, 16, 3, 40, 4, 4, layout=NCHW_TO_NHWC),
    _conv(1, 15, 3, 10, 7, 2, 3, layout=NCHW_TO_NHWC, act="hardswish"),
    _conv(1, 7, 1, 58, 1, layout=NCHW_TO_NHWC),
    _conv(3, 7, 2, 10, 3, 1, 1, layout=NCHW_TO_NHWC, icp=5, ic0=2, act="silu"),
    _conv(1, 9, 2, 10, 2, 2, layout=NCHW_TO_NHWC, icp=4, ic0=1),
    _conv(1, 9, 3, 10, w=11, kh=5, kw=2, sh=2, sw=1, ph=1, pw=1, layout=NCHW_TO_NHWC),
]
GROUPED = [
    _conv(1, 7, 30, 60, 3, 1, 1, groups=3, act="relu"),
    _conv(2, 7, 48, 96, 3, 2, 1, groups=3, res="pre", act="relu"),
    _conv(1, 7, 60, 240, groups=3),
    _conv(2, 5, 20, 58, groups=2, res="post", icp=30, ic0=3),
    _conv(1, 5, 20, 58, groups=2, act="relu", post=1),
    _conv(1, 7, 10, 20, groups=2, mix=1, bcp=30, bc0=2),
    _conv(1, 9, 6, 20, 3, 1, 1, groups=2, dw=2, pb=2, pr=0, layout=NCHW_TO_NHWC),
    _conv(1, 9, 6, 20, 3, groups=2, dw=2, layout=NCHW_TO_NHWC),
]
NARROW = [
    Workload(case.problem, "narrow")
    for case in (
        _conv(1, 7, 32, 32, 3, 1, 1, groups=8, act="relu"),
        _conv(2, 6, 40, 40, 3, 2, 1, groups=10, res="pre", act="relu"),
        _conv(1, 9, 18, 18, 3, 1, 2, groups=6, dh=2, dw=2, act="silu"),
        _conv(1, 7, 12, 36, 3, 1, 1, groups=12),
        _conv(1, 7, 10, 20, 5, 1, 2, groups=10, icp=25, ic0=7),
        _conv(1, 5, 24, 6, groups=6, res="post", act="relu"),
        _conv(1, 7, 6, 8, groups=2, mix=1, bcp=30, bc0=2),
        _conv(1, 9, 14, 14, 3, 1, 1, groups=7, pb=0, pr=2),
        _conv(1, 3, 34, 34, groups=17),
        _conv(1, 3, 20, 30, groups=10, act="relu", post=1),
    )
]
DILATED = [
    _conv(1, 9, 10, 20, 3, 1, 2, dh=2, dw=2, act="relu"),
    _conv(1, 9, 10, 20, 3, dh=2, dw=3, icp=12, ic0=1),
    _conv(1, 9, 10, 20, 3, 2, 1, pb=2, pr=0),
    _conv(1, 9, 10, 20, 3, pb=1, pr=2),
    _conv(1, 2, 5, 6, 3, 1, 24, dh=24, dw=24),
    _conv(2, 11, 6, 10, 3, 2, 5, dh=5, dw=4),
    _conv(1, 12, 6, 10, 3, 1, 4, dh=4, dw=4, layout=NCHW_TO_NHWC),
]
ACTIVATED = [
    make(act)
    for act in ACTIVATIONS
    for make in (
        lambda act: _conv(1, 2, 10, 22, act=act, res="pre"),
        lambda act: _depthwise(1, 2, 22, 3, 1, act=act),
        lambda act: _partial("pconv_pointwise", 1, 1, 2, 10, 3, 1, co=22, act=act, res="none"),
        lambda act: _partial("pconv_block", 1, 1, 2, 10, 3, 1, hidden=6, act=act, res="pre"),
    )
]
DEPTHWISE = [
    _depthwise(1, 7, 10, 3, 1, act="relu"),
    _depthwise(3, 15, 20, 3, 2, act="relu6"),
    _depthwise(1, 7, 58, 5, 1, act="hardswish"),
    _depthwise(1, 15, 116, 5, 2),
    _depthwise(3, 1, 122, 3, 1, act="silu"),
    _depthwise(1, 1, 10, 7, 1),
    _depthwise(1, 2, 232, 3, 2),
    _depthwise(1, 15, 10, 7, 2, act="gelu"),
    _depthwise(1, 7, 58, 1, 1, ph=0, pw=0),
    _depthwise(3, 7, 58, 3, 1, cp=116, c0=58),
    _depthwise(1, 8, 10, 4, 1, ph=1, pw=2),
    _depthwise(1, 8, 10, 2, 2, ph=0, pw=0, cp=23, c0=7),
    _depthwise(1, 1, 10, 3, 1, ph=3, pw=3),
    _depthwise(1, 4, 1, 3, 1),
    _depthwise(1, 5, 20, 3, 1, w=12, kh=1, kw=5, ph=0, pw=2, sw=2),
    _depthwise(1, 9, 58, 3, 1, dh=2, dw=2, ph=2, pw=2),
    _depthwise(2, 9, 20, 3, 2, dh=3, ph=2, pw=0, pb=1, pr=1),
    _depthwise(1, 14, 10, 5, 1, dh=5, dw=6, ph=10, pw=10),
    _depthwise(1, 7, 122, 3, 2, act="hardswish", post=1),
]
POOL = [
    _pool("max", 1, 15, 10, 3, 2, 1),
    _pool("max", 3, 7, 20, 2, 2, 0),
    _pool("max", 1, 7, 58, 5, 1, 2),
    _pool("max", 1, 1, 116, 3, 2, 1),
    _pool("max", 3, 7, 122, 4, 2, 1, cp=130, c0=8),
    _pool("avg", 1, 15, 10, 3, 2, 1),
    _pool("avg", 1, 7, 232, 7, 1, 0),
    _pool("avg", 3, 7, 58, 2, 1, 1, cp=116, c0=58),
    _pool("avg", 1, 1, 20, 1, 1, 0),
    _pool("avg", 1, 4, 22, 3, 1, 0, w=9, kh=1, sw=2, pw=1),
]
PARTIAL = [
    _partial("pconv", 1, 7, 7, 40, 10),
    _partial("pconv", 3, 7, 7, 80, 20),
    _partial("pconv", 1, 15, 6, 116, 58, 5),
    _partial("pconv", 1, 1, 1, 40, 10),
    _partial("pconv", 1, 7, 3, 122, 1),
    _partial("pconv", 1, 7, 7, 10, 3, 1),
    _partial("pconv", 1, 4, 4, 11, 11, 7),
    _partial("pconv", 2, 7, 9, 40, 10, first=7, d=2, inner="relu"),
    _partial("pconv", 1, 5, 4, 20, 5, first=15),
]
POINTWISE = [
    _partial("pconv_pointwise", 1, 7, 7, 40, 10, co=80, act="relu", res="none"),
    _partial("pconv_pointwise", 3, 7, 7, 58, 14, co=122, act="gelu", res="none"),
    _partial("pconv_pointwise", 1, 15, 5, 20, 5, co=10, act="none", res="pre"),
    _partial("pconv_pointwise", 1, 1, 1, 116, 29, co=116, act="relu", res="pre"),
    _partial("pconv_pointwise", 1, 7, 4, 10, 10, 5, co=20, act="hardswish", res="none"),
    _partial("pconv_pointwise", 3, 2, 7, 232, 58, 1, co=58, act="relu6", res="none"),
    _partial("pconv_pointwise", 1, 9, 7, 40, 10, first=7, d=3, co=22, act="relu", res="pre"),
]
BLOCK = [
    _partial("pconv_block", 1, 7, 7, 40, 10, hidden=80, act="relu", res="pre"),
    _partial("pconv_block", 3, 7, 7, 20, 5, hidden=58, act="relu6", res="pre"),
    _partial("pconv_block", 1, 15, 4, 10, 3, hidden=20, act="relu", res="none"),
    _partial("pconv_block", 1, 1, 1, 116, 29, hidden=232, act="gelu", res="pre"),
    _partial("pconv_block", 1, 5, 7, 122, 30, 5, hidden=10, act="none", res="pre"),
    _partial("pconv_block", 1, 3, 7, 12, 12, 3, hidden=24, act="silu", res="none"),
    _partial("pconv_block", 1, 6, 7, 20, 5, d=2, hidden=58, act="relu", res="pre", inner="silu"),
]
WINOGRAD = [
    _winograd(1, 7, 7, 10, 20, 4, act="relu"),
    _winograd(3, 7, 15, 20, 10, 2, res="pre", act="relu"),
    _winograd(1, 8, 8, 58, 58, 4, icp=116, ic0=58, res="post", act="relu"),
    _winograd(1, 1, 1, 116, 22, 4),
    _winograd(1, 2, 5, 10, 122, 2, icp=23, ic0=7, act="gelu"),
    _winograd(3, 6, 4, 1, 3, 4, act="hardswish"),
    _winograd(2, 8, 12, 10, 20, 4, ph=2, pw=2, dh=2, dw=2, act="relu"),
    _winograd(1, 7, 9, 20, 10, 2, ph=3, pw=3, dh=3, dw=3, icp=23, ic0=2, res="pre"),
    _winograd(1, 2, 3, 5, 3, 4, ph=4, pw=4, dh=4, dw=4),
    _winograd(1, 7, 5, 10, 22, 4, res="pre", act="relu", post=1),
    _partial("pconv", 1, 7, 7, 40, 10, by="winograd4"),
    _partial("pconv", 3, 5, 6, 58, 14, by="winograd2"),
    _partial("pconv", 1, 5, 6, 58, 14, first=44, inner="relu", by="winograd2"),
    _partial("pconv_pointwise", 1, 7, 7, 40, 10, co=22, act="relu", res="pre", by="winograd4"),
    _partial("pconv_pointwise", 1, 1, 2, 11, 11, co=20, act="relu6", res="none", by="winograd2"),
    _partial("pconv_block", 1, 9, 7, 40, 10, hidden=22, act="relu", res="pre", by="winograd4"),
    _partial("pconv_block", 3, 2, 3, 58, 14, hidden=20, act="relu", res="none", by="winograd2"),
    _strassen(0, "pconv_block", 1, 9, 2, 32, 6, hidden=64, act="gelu", res="pre"),
    _partial(
        "pconv_block", 3, 5, 6, 64, 20, hidden=32, act="relu", res="pre", by="winograd2_strassen"
    ),
    _partial(
        "pconv_pointwise", 2, 3, 5, 32, 32, co=96, act="relu", res="pre", by="direct_strassen"
    ),
    _partial(
        "pconv_block", 1, 3, 3, 32, 8, hidden=32, act="relu", res="pre", by="winograd4_strassen"
    ),
    _partial(
        "pconv_pointwise", 1, 3, 2, 32, 8, co=32, act="none", res="pre", by="winograd2_strassen"
    ),
    _partial(
        "pconv_pointwise", 1, 5, 3, 32, 8, co=64, act="relu", res="none", by="winograd4_strassen"
    ),
]
MBCONV = [
    _mbconv(1, 7, 20, 58, 20, act1="relu6", act2="relu6", res="pre"),
    _mbconv(3, 9, 10, 33, 22, st=2, act="relu"),
    _mbconv(1, 8, 10, 20, 10, 5, st=2, act1="hardswish", act2="silu"),
    _mbconv(1, 5, 58, 58, 58, icp=116, ic0=58, mix=1, bcp=116, bc0=0, act="relu"),
    _mbconv(1, 1, 10, 122, 116, 3, act2="gelu"),
    _mbconv(1, 6, 4, 7, 3, 7, res="post", act="relu"),
    _mbconv(3, 2, 6, 10, 10, 5, mix=1, bcp=23, bc0=7, res="pre", act="relu"),
    _mbconv(1, 7, 10, 20, 10, 1, st=1),
]
MBCONV_WHOLE = [
    Workload(case.problem, "whole")
    for case in (
        *MBCONV,
        _mbconv(1, 13, 58, 122, 10, act="relu6"),
        _mbconv(2, 15, 10, 58, 33, 5, st=2),
    )
]


def _transpose(n: int, c: int, h: int, w: int, layout: str) -> Workload:
    return _direct(Problem.make("transpose", n=n, c=c, h=h, w=w, layout=layout))


def _resized(
    n: int, size: int, c: int, out: tuple[int, int], method: str, mode: str, **more: Any
) -> Workload:
    shape = {"n": n, "h": size, "w": size, "c": c, "oh": out[0], "ow": out[1]}
    rounding = "floor" if method == "nearest" else "none"
    how = {"method": method, "mode": mode, "rounding": rounding}
    return _direct(resize.problem(**{**shape, **how, **more}))


RESIZED = [
    _resized(2, 5, 22, (10, 15), "nearest", "asymmetric", act="relu", res="post"),
    _resized(1, 6, 10, (4, 9), "nearest", "tf_half_pixel_for_nn", rounding="round_prefer_ceil"),
    _resized(1, 5, 58, (10, 10), "linear", "half_pixel", cp=70, c0=3),
    _resized(3, 7, 3, (11, 5), "linear", "align_corners", res="pre"),
    _resized(1, 5, 20, (13, 7), "cubic", "half_pixel", act="relu"),
    _resized(1, 4, 20, (8, 1), "linear", "pytorch_half_pixel"),
]
VOLUMES = [
    _volume(1, (3, 7, 5), 10, 20, act="relu"),
    _volume(2, (5, 6, 9), 7, 33, s=2, res="pre", act="hardswish"),
    _volume(1, (4, 5, 6), 6, 10, k=2, s=2, p=0, icp=9, ic0=2),
    _volume(2, (3, 4, 5), 6, 10, kh=1, kw=1, ph=0, pw=0, res="post"),
    _volume(1, (5, 7, 7), 4, 6, p=2, dd=2, dh=2, dw=2),
    _volume(1, (5, 7, 7), 4, 6, p=0, dd=2, dh=3, dw=3),
    _volume(1, (3, 4, 5), 12, 20, groups=2),
    _volume(2, (3, 4, 5), 22, 22, groups=22, act="relu"),
    _volume(1, (5, 5, 7), 22, 22, s=2, p=0, groups=22, icp=30, ic0=3),
]
TRANSPOSED = [
    _transposed(1, 7, 10, 20, act="relu"),
    _transposed(3, 5, 20, 1, act="sigmoid"),
    _transposed(2, 4, 10, 58, icp=20, ic0=7, act="hardswish", res="pre"),
    _transposed(1, 7, 10, 58, 4, 2, 1),
    _transposed(3, 5, 7, 3, 4, 2, 1, res="post", act="relu"),
    _transposed(1, 7, 20, 33, 3, 2, 1, 1, act="silu"),
    _transposed(2, 6, 10, 3, 3, 2, 1),
    _transposed(1, 5, 10, 6, 5, 3, 0, 1),
    _transposed(1, 5, 10, 6, 2, 3, 0, 2),
    _transposed(1, 4, 10, 20, 7, 2, 5),
    _transposed(1, 6, 10, 20, 3, 2, 2, 1, dh=2, dw=2, oh=11, ow=11),
    _transposed(1, 5, 6, 10, 3, 1, 1),
    _transposed(1, 5, 6, 10, kh=1, kw=4, sh=1, sw=2, ph=0, pw=1, oh=5, ow=10),
    _transposed(1, 3, 6, 10, 2, 2, oh=5, ow=4),
    _transposed(2, 4, 12, 20, 3, 2, 1, 1, groups=2),
    _transposed(2, 4, 22, 22, 4, 2, 1, groups=22, act="relu"),
    _transposed(1, 4, 22, 22, groups=22, icp=30, ic0=3),
]
TRANSPOSE = [
    _transpose(n, c, h, w, layout)
    for layout in (NCHW_TO_NHWC, NHWC_TO_NCHW)
    for n, c, h, w in ((1, 32, 8, 16), (3, 58, 7, 7), (1, 122, 5, 13), (2, 3, 9, 4), (1, 10, 1, 1))
]


SHUFFLE = [
    _direct(Problem.make("channel_shuffle", n=n, h=h, w=h, c=c, groups=groups))
    for n, h, c, groups in (
        (1, 5, 60, 3),
        (2, 3, 240, 4),
        (1, 3, 58, 2),
        (1, 4, 84, 6),
        (1, 1, 5, 5),
    )
]


def _matmul(x: tuple[int, ...], w: tuple[int, ...], **turned: bool) -> Workload:
    problem = matmul.problem(x, w, **turned)
    assert problem is not None
    return Workload(problem, "packed")


MATMUL = [
    _matmul((2, 3, 49, 10), (2, 3, 49, 10), tb=True),
    _matmul((5, 49, 49), (5, 49, 10)),
    _matmul((3, 7, 58), (3, 58, 122)),
    _matmul((1, 58, 33), (1, 58, 7), ta=True),
    _matmul((4, 1, 37), (37, 21)),
    _matmul((2, 37, 5), (29, 37), ta=True, tb=True),
    _matmul((9, 16), (3, 16, 1)),
    _matmul((1, 130), (33, 130), tb=True),
]


def _pointwise_nchw(n: int, h: int, w: int, ci: int, co: int, act: str = "none") -> Workload:
    return _conv(n, h, ci, co, w=w, act=act, layout=NCHW)


POINTWISE_NCHW = [
    _pointwise_nchw(1, 8, 16, 10, 58, "relu"),
    _pointwise_nchw(3, 7, 7, 58, 122),
    _pointwise_nchw(2, 14, 14, 122, 10, "gelu"),
    _pointwise_nchw(1, 5, 10, 1, 3, "hardswish"),
    _pointwise_nchw(1, 1, 2, 20, 1),
    _pointwise_nchw(1, 1, 1, 47, 10, "silu"),
    _pointwise_nchw(2, 7, 7, 31, 20, "relu"),
    _pointwise_nchw(1, 3, 11, 3, 122),
    _pointwise_nchw(2, 15, 15, 20, 33, "relu6"),
    _conv(2, 7, 60, 30, groups=3, act="relu", layout=NCHW),
    _conv(1, 8, 20, 10, groups=5, layout=NCHW),
]


def _depthwise_nchw(n: int, h: int, w: int, c: int, k: int, s: int, **more: Any) -> Workload:
    return _depthwise(n, h, c, k, s, w=w, layout=NCHW, **more)


DEPTHWISE_NCHW = [
    _depthwise_nchw(1, 14, 14, 10, 3, 1, act="relu"),
    _depthwise_nchw(3, 15, 56, 20, 3, 2, act="relu6"),
    _depthwise_nchw(1, 9, 112, 58, 3, 1),
    _depthwise_nchw(2, 7, 7, 122, 3, 1, act="hardswish"),
    _depthwise_nchw(1, 28, 29, 144, 3, 2, ph=0, pw=0),
    _depthwise_nchw(2, 17, 33, 10, 3, 1, ph=0, pw=0, act="gelu"),
    _depthwise_nchw(1, 11, 80, 10, 5, 1),
    _depthwise_nchw(3, 15, 81, 20, 5, 2),
    _depthwise_nchw(1, 10, 150, 3, 3, 3),
    _depthwise_nchw(1, 12, 50, 10, 2, 2, ph=0, pw=0),
    _depthwise_nchw(1, 8, 40, 10, 4, 1, ph=1, pw=2),
    _depthwise_nchw(1, 6, 100, 20, 1, 1),
    _depthwise_nchw(1, 9, 40, 10, 1, 2),
    _depthwise_nchw(1, 2, 3, 232, 3, 2),
    _depthwise_nchw(3, 1, 1, 116, 3, 1),
    _depthwise_nchw(1, 1, 2, 10, 7, 1, ph=5, pw=5),
    _depthwise_nchw(1, 5, 64, 20, 3, 1, kh=1, kw=5, ph=0, pw=2, sw=2),
    _depthwise_nchw(1, 90, 60, 58, 3, 2),
    _depthwise_nchw(1, 14, 20, 10, 3, 1, dh=2, dw=2, ph=2, pw=2),
    _depthwise_nchw(1, 14, 40, 10, 3, 2, dh=2, dw=3, ph=2, pw=1, pr=0, pb=3),
]


def generator_of(workload: Workload) -> str:
    """The operator, and the class of algorithms that generate its kernels."""
    return f"{workload.problem.op} {type(registry.algorithm(workload)).__name__}"


CASES: dict[str, list[Workload]] = {}
"""Workloads by :func:`generator_of`."""

for _workload in [
    *FLAT, *MIXED, *DIRECT, *PADDED, *FIRST_LAYER, *GROUPED, *NARROW, *DILATED, *ACTIVATED,
    *DEPTHWISE, *POOL,
    *(_global(*given) for given in ((1, 7, 10), (3, 15, 58), (1, 1, 232), (3, 7, 122), (1, 2, 1))),
    *PARTIAL, *POINTWISE, *BLOCK, *WINOGRAD, *MBCONV, *MBCONV_WHOLE, *TRANSPOSE, *TRANSPOSED,
    *VOLUMES, *RESIZED, *POINTWISE_NCHW, *DEPTHWISE_NCHW, *SHUFFLE, *MATMUL,
]:  # fmt: skip
    CASES.setdefault(generator_of(_workload), []).append(_workload)
