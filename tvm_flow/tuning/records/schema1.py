"""Records as tvm-flow wrote them first: schema 1.

There a record had one text, its workload, in which the same decision was spelt in three ways: as an
operator of its own (``conv2d_winograd``, ``mbconv_whole``, ``pointwise_nchw``), as a parameter
(``wino``, ``strassen``, ``nchw``, ``to``), or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm_flow.schedules.contract.problem import (
    NCHW,
    NCHW_TO_NHWC,
    NHWC,
    NHWC_TO_NCHW,
    Problem,
    Workload,
)

SCHEMA = 1

Params = dict[str, Any]

_PLAIN_EPILOGUE: Params = {"mix": 0, "bcp": 0, "bc0": 0}
_POINTWISE: Params = {"kh": 1, "kw": 1, "sh": 1, "sw": 1, "ph": 0, "pw": 0, "res": "none", "ic0": 0}
_SAME_3X3: Params = {"kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1}


def upgraded(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of a trial, as the present schema has them. Raises ``ValueError``."""
    fields = dict(entry)
    workload = workload_of(fields.pop("workload"))
    dtype = workload.problem.dtype.value
    return {
        "problem": workload.problem.key,
        "algorithm": workload.algorithm,
        **fields,
        "dtype": dtype,
        "device": "cpu",
    }


def workload_of(key: str) -> Workload:
    """Problem and algorithm that the key of a workload stood for. Raises ``ValueError``."""
    old = Problem.parse(key)
    rule = _RULES.get(old.op)
    return rule(old.op, dict(old.params)) if rule else Workload(old, "direct")


def _conv2d(op: str, params: Params) -> Workload:
    layout = NCHW_TO_NHWC if params.pop("nchw", 0) else NHWC
    return Workload(Problem.of(op, params, layout), "direct")


def _conv2d_winograd(_op: str, params: Params) -> Workload:
    m = params.pop("m")
    return Workload(
        Problem.make("conv2d", **params, **_SAME_3X3, **_PLAIN_EPILOGUE), f"winograd{m}"
    )


def _pointwise_nchw(_op: str, params: Params) -> Workload:
    params |= _POINTWISE | _PLAIN_EPILOGUE | {"icp": params["ci"]}
    return Workload(Problem.of("conv2d", params, NCHW), "direct")


def _depthwise_nchw(_op: str, params: Params) -> Workload:
    params |= {"cp": params["c"], "c0": 0}
    return Workload(Problem.of("depthwise", params, NCHW), "direct")


def _transpose(op: str, params: Params) -> Workload:
    layout = NCHW_TO_NHWC if params.pop("to") == NHWC else NHWC_TO_NCHW
    return Workload(Problem.of(op, params, layout), "direct")


def _mbconv(op: str, params: Params) -> Workload:
    algorithm = "whole" if op == "mbconv_whole" else "rows"
    return Workload(Problem.of("mbconv", params), algorithm)


def _pconv(op: str, params: Params) -> Workload:
    m, strassen = params.pop("wino", 0), params.pop("strassen", 0)
    algorithm = (f"winograd{m}" if m else "direct") + ("_strassen" if strassen else "")
    return Workload(Problem.of(op, params), algorithm)


_RULES: dict[str, Callable[[str, Params], Workload]] = {
    "conv2d": _conv2d,
    "conv2d_winograd": _conv2d_winograd,
    "pointwise_nchw": _pointwise_nchw,
    "depthwise_nchw": _depthwise_nchw,
    "transpose": _transpose,
    "mbconv": _mbconv,
    "mbconv_whole": _mbconv,
    "pconv": _pconv,
    "pconv_pointwise": _pconv,
    "pconv_block": _pconv,
}
