"""Every operator of the kernels again, written with ``torch.nn.functional``: what the NumPy
references compute, at the speed that checking every compilation takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.schedules.contract.problem import NCHW, NHWC, Problem
from tvm_flow.schedules.operators import resize
from tvm_flow.schedules.operators.activations import parse
from tvm_flow.schedules.operators.reference import POST

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "gelu": F.gelu,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "mish": F.mish,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}
_WITH_NUMBERS: dict[str, Callable[..., Tensor]] = {
    "clip": torch.clamp,
    "hardswish": lambda x, a, b: x * (a * x + b).clamp(0, 1),
    "silu": lambda x, b: x * torch.sigmoid(b * x),
    "leakyrelu": F.leaky_relu,
    "elu": lambda x, p, n: torch.where(x > 0, p * x, n * torch.expm1(x.clamp(max=0))),
}


def activated(text: str, x: Tensor) -> Tensor:
    """The activation ``text`` of a problem."""
    name, numbers = parse(text)
    return _WITH_NUMBERS[name](x, *numbers) if numbers else ACTIVATIONS[name](x)


Weights = Mapping[str, Tensor]
Pair = tuple[int, int]


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


def _convolution(w: Problem, x: Tensor, kernel: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Of NCHW, with all that the windows of problems may have."""
    top, left = w["ph"], w["pw"]
    x = F.pad(x, (left, w.get("pr", left), top, w.get("pb", top)))
    dilation = (w.get("dh", 1), w.get("dw", 1))
    return F.conv2d(x, kernel, bias, (w["sh"], w["sw"]), 0, dilation, groups)


def _conv2d(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    y = _convolution(w, x, weights["weight"], weights["bias"], w.get("groups", 1))
    return _finish(w, y, inputs[1:], weights)


def _conv_transpose(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    y = transposed_convolution(
        x, weights, (w["sh"], w["sw"]), (w["ph"], w["pw"]), (w["oh"], w["ow"]),
        (w.get("dh", 1), w.get("dw", 1)), w.get("groups", 1),
    )  # fmt: skip
    return _finish(w, y, inputs[1:], weights)


def transposed_convolution(
    x: Tensor, weights: Weights, stride: Pair, cut: Pair, size: Pair, dilation: Pair,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """NCHW: ``size`` pixels of the result from the corner ``cut`` on. Weights: ``weight``
    [co, ci / groups, kh, kw] and ``bias``."""
    kernel = torch.cat([part.transpose(0, 1) for part in weights["weight"].chunk(groups)])
    full = F.conv_transpose2d(x, kernel, None, stride, 0, 0, groups, dilation)
    down, across = (max(0, c + n - m) for c, n, m in zip(cut, size, full.shape[2:], strict=True))
    full = F.pad(full, (0, across, 0, down))
    y = full[:, :, cut[0] : cut[0] + size[0], cut[1] : cut[1] + size[1]]
    return y + weights["bias"][:, None, None]


def _conv3d(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    stride, cut = (tuple(w[f"{name}{axis}"] for axis in "dhw") for name in "sp")
    dilation = tuple(w.get(f"d{axis}", 1) for axis in "dhw")
    y = volume_convolution(x, weights, w["d"], stride, cut, dilation, w.get("groups", 1))
    return _finish(w, y, inputs[1:], weights)


def volume_convolution(
    x: Tensor, weights: Weights, depth: int, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], groups: int,
) -> Tensor:  # fmt: skip
    """NCHW, the ``depth`` planes of a volume one below the other. Weights: ``weight``
    [co, ci / groups, kd, kh, kw] and ``bias``."""
    n, c, rows, columns = x.shape
    volume = x.reshape(n, c, depth, rows // depth, columns)
    more: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    y = F.conv3d(volume, weights["weight"], weights["bias"], groups=groups, **more)
    return y.reshape(n, y.shape[1], -1, y.shape[4])


def _resize(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["c0"] : w["c0"] + w["c"]]
    how = {name: w.text(name) for name in ("method", "mode", "rounding")}
    return _finish(w, resized(x, (w["oh"], w["ow"]), **how), inputs[1:], weights)


def resized(x: Tensor, size: Pair, method: str, mode: str, rounding: str) -> Tensor:
    """NCHW: images of ``size`` pixels; what PyTorch has no name for as products with the matrices
    of rows and columns."""
    corners = {"half_pixel": False, "align_corners": True}.get(mode)
    if method != "nearest" and corners is not None:
        return F.interpolate(x, size, mode=f"bi{method}", align_corners=corners)
    for axis, new in zip((2, 3), size, strict=True):
        index, shares = resize.Axis(x.shape[axis], new, method, mode, rounding).taps()
        matrix = torch.zeros(new, x.shape[axis], dtype=x.dtype)
        matrix.scatter_add_(1, torch.from_numpy(index), torch.from_numpy(shares).to(x.dtype))
        if method == "nearest":  # no sum, for what is not finite stays where it is
            x = x.index_select(axis, torch.from_numpy(index[:, 0]))
        else:
            x = torch.tensordot(x, matrix, ([axis], [1])).movedim(-1, axis)
    return x


def _with_post(w: Problem, y: Tensor, weights: Weights) -> Tensor:
    """Activation, then scale and shift per channel where there are any."""
    y = activated(w.text("act"), y)
    if not w.get("post", 0):
        return y
    scale, shift = (weights[name][:, None, None] for name in POST)
    return y * scale + shift


def _finish(w: Problem, y: Tensor, rest: list[Tensor], weights: Weights) -> Tensor:
    """Residual, activation and shuffle with the bypass."""
    if w.text("res") == "pre":
        y = y + rest[0]
    y = _with_post(w, y, weights)
    if w.text("res") == "post":
        y = y + rest[0]
    if dict(w.params).get("mix"):
        bypass = rest[-1][:, w["bc0"] : w["bc0"] + w["co"]]
        y = F.channel_shuffle(torch.cat([bypass, y], 1), 2)
    return y


def _mbconv(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["ic0"] : w["ic0"] + w["ci"]]
    y = activated(w.text("act1"), _pointwise(x, weights, 1))
    window: dict[str, Any] = {"stride": w["st"], "padding": w["k"] // 2, "groups": w["hid"]}
    y = F.conv2d(y, weights["dw"].unsqueeze(1), weights["dwb"], **window)
    y = _pointwise(activated(w.text("act2"), y), weights, 2)
    return _finish(w, y, inputs[1:], weights)


def _depthwise(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    x = inputs[0][:, w["c0"] : w["c0"] + w["c"]]
    kernel = weights["weight"].unsqueeze(1)
    y = _convolution(w, x, kernel, weights["bias"], w["c"])
    return _with_post(w, y, weights)


def _pool2d(w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    x = inputs[0][:, w["c0"] : w["c0"] + w["c"]]
    padding = (w["ph"], w["pw"], w.get("pb", w["ph"]), w.get("pr", w["pw"]))
    dilation = (w.get("dh", 1), w.get("dw", 1))
    return pooled(x, w.text("mode"), (w["kh"], w["kw"]), (w["sh"], w["sw"]), padding, dilation)


def pooled(
    x: Tensor, mode: str, kernel: Pair, stride: Pair, padding: Sequence[int], dilation: Pair
) -> Tensor:
    """NCHW, ``padding`` (top, left, bottom, right) counting as zeros in a mean."""
    top, left, bottom, right = padding
    x = F.pad(x, (left, right, top, bottom), value=-torch.inf if mode == "max" else 0.0)
    if mode == "max":
        return F.max_pool2d(x, kernel, stride, dilation=dilation)
    taps = torch.full((x.shape[1], 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=x.dtype)
    return F.conv2d(x, taps, None, stride, 0, dilation, x.shape[1])


def _global_pool(_w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    return F.adaptive_avg_pool2d(inputs[0], 1).flatten(1)


def _pconv(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    return partial_convolution(inputs[0], weights, dict(w.params))


def partial_convolution(x: Tensor, weights: Weights, params: Mapping[str, Any]) -> Tensor:
    """NCHW: as many channels convolved as ``weights`` have, the rest as they are; ``params`` as
    those of the operator."""
    kernel, first, dilation = weights["conv"], params.get("first", 0), params.get("d", 1)
    end, pad = first + kernel.shape[1], dilation * (kernel.shape[2] // 2)
    part = F.conv2d(x[:, first:end], kernel, weights["conv_bias"], padding=pad, dilation=dilation)
    part = activated(params.get("inner", "none"), part)
    return torch.cat([x[:, :first], part, x[:, end:]], 1)


def _pointwise(y: Tensor, weights: Weights, index: int) -> Tensor:
    return F.conv2d(y, weights[f"w{index}"][:, :, None, None], weights[f"b{index}"])


def _pconv_pointwise(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    y = _pointwise(_pconv(w, inputs, weights), weights, 1)
    if w.text("res") == "pre":
        y = y + inputs[1]
    return activated(w.text("act"), y)


def _pconv_block(w: Problem, inputs: list[Tensor], weights: Weights) -> Tensor:
    hidden = _pointwise(_pconv(w, inputs, weights), weights, 1)
    y = _pointwise(activated(w.text("act"), hidden), weights, 2)
    return y if w.text("res") == "none" else y + inputs[0]


def _transpose(_w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    """:func:`compute` does it to input and output."""
    return inputs[0]


def _channel_shuffle(w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    return F.channel_shuffle(inputs[0], w["groups"])


def _matmul(w: Problem, inputs: list[Tensor], _weights: Weights) -> Tensor:
    x, y = inputs
    return product(x, y, (bool(w["ta"]), bool(w["tb"])))


def product(x: Tensor, y: Tensor, turned: tuple[bool, bool]) -> Tensor:
    """The matrix product of two tensors, of which some are given with rows as columns."""
    x, y = (t.mT if turn else t for t, turn in zip((x, y), turned, strict=True))
    return x @ y


_OPERATORS: dict[str, Callable[[Problem, list[Tensor], Weights], Tensor]] = {
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "resize": _resize,
    "conv_transpose": _conv_transpose,
    "depthwise": _depthwise,
    "mbconv": _mbconv,
    "pool2d": _pool2d,
    "global_pool": _global_pool,
    "pconv": _pconv,
    "pconv_pointwise": _pconv_pointwise,
    "pconv_block": _pconv_block,
    "transpose": _transpose,
    "channel_shuffle": _channel_shuffle,
    "matmul": _matmul,
}
