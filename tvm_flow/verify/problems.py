"""Every operator of the kernels again, written with ``torch.nn.functional``: what the NumPy
references compute, at the speed that checking every compilation takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.schedules.contract.problem import NCHW, NHWC, Problem

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
}

Weights = Mapping[str, Tensor]


def compute(problem: Problem, inputs: Sequence[Tensor], weights: Weights) -> Tensor:
    """The output of ``problem`` in the layout of its kernel and the element type of ``inputs``,
    which are in the kernel's layout too."""
    first, *rest = (x if x.ndim != 4 else to_nchw(x) for x in inputs)
    nchw = [inputs[0] if problem.layout_in == NCHW else first, *rest]
    y = _OPERATORS[problem.op](problem, nchw, weights)
    turned = y.ndim == 4 and problem.layout_out == NHWC
    return y.permute(0, 2, 3, 1) if turned else y


def to_nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _window(w: Problem) -> dict[str, Any]:
    return {"stride": (w["sh"], w["sw"]), "padding": (w["ph"], w["pw"])}


def _conv2d(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    return _finish(w, F.conv2d(x, weights["weight"], weights["bias"], **_window(w)), inputs[1:])


def _finish(w: Problem, y: Tensor, rest: list[Tensor]) -> Tensor:
    """Residual, activation and shuffle with the bypass."""
    if w.text("res") == "pre":
        y = y + rest[0]
    y = ACTIVATIONS[w.text("act")](y)
    if w.text("res") == "post":
        y = y + rest[0]
    if dict(w.params).get("mix"):
        bypass = rest[-1][:, w["bc0"] : w["bc0"] + w["co"]]
        y = F.channel_shuffle(torch.cat([bypass, y], 1), 2)
    return y


def _mbconv(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    y = ACTIVATIONS[w.text("act1")](_pointwise(x, weights, 1))
    window: dict[str, Any] = {"stride": w["st"], "padding": w["k"] // 2, "groups": w["hid"]}
    y = F.conv2d(y, weights["dw"].unsqueeze(1), weights["dwb"], **window)
    y = _pointwise(ACTIVATIONS[w.text("act2")](y), weights, 2)
    return _finish(w, y, inputs[1:])


def _depthwise(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["c0"] : w["c0"] + w["c"]]
    kernel = weights["weight"].unsqueeze(1)
    y = F.conv2d(x, kernel, weights["bias"], groups=w["c"], **_window(w))
    return ACTIVATIONS[w.text("act")](y)


def _pool2d(w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    x = inputs[0][:, w["c0"] : w["c0"] + w["c"]]
    pool = F.max_pool2d if w.text("mode") == "max" else F.avg_pool2d
    return pool(x, (w["kh"], w["kw"]), **_window(w))


def _global_pool(_w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    return F.adaptive_avg_pool2d(inputs[0], 1).flatten(1)


def _pconv(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    return partial_convolution(inputs[0], weights)


def partial_convolution(x: Tensor, weights: Weights) -> Tensor:
    """NCHW: as many of the first channels convolved as ``weights`` have, the rest as they are."""
    kernel = weights["conv"]
    part = x[:, : kernel.shape[1]]
    part = F.conv2d(part, kernel, weights["conv_bias"], padding=kernel.shape[2] // 2)
    return torch.cat([part, x[:, kernel.shape[1] :]], 1)


def _pointwise(y: Tensor, weights: Weights, index: int) -> Tensor:
    return F.conv2d(y, weights[f"w{index}"][:, :, None, None], weights[f"b{index}"])


def _pconv_pointwise(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    y = _pointwise(_pconv(w, inputs, weights), weights, 1)
    if w.text("res") == "pre":
        y = y + inputs[1]
    return ACTIVATIONS[w.text("act")](y)


def _pconv_block(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    hidden = _pointwise(_pconv(w, inputs, weights), weights, 1)
    y = _pointwise(ACTIVATIONS[w.text("act")](hidden), weights, 2)
    return y if w.text("res") == "none" else y + inputs[0]


def _transpose(_w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    """:func:`compute` does it to input and output."""
    return inputs[0]


def _matmul(w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    return product(*inputs, turned=(bool(w["ta"]), bool(w["tb"])))


def product(x: Tensor, y: Tensor, turned: tuple[bool, bool]) -> Tensor:
    """The matrix product of two tensors, of which some are given with rows as columns."""
    x, y = (t.mT if turn else t for t, turn in zip((x, y), turned, strict=True))
    return x @ y


_OPERATORS: dict[str, Callable[[Problem, list[Tensor], Weights], Tensor]] = {
    "conv2d": _conv2d,
    "depthwise": _depthwise,
    "mbconv": _mbconv,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "pconv": _pconv,
    "pconv_pointwise": _pconv_pointwise,
    "pconv_block": _pconv_block,
    "transpose": _transpose,
    "matmul": _matmul,
}
