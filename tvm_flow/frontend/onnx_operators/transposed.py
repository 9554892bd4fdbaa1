"""Transposed convolution, as a convolution of its input spread out, with the weights turned round:
every padding and output shape is then the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    array,
    dims,
    dtype_of,
    rank,
)
from tvm_flow.frontend.onnx_operators.windows import CONVOLUTIONS
from tvm_flow.schedules.contract.dtypes import FLOAT32


def _conv_transpose(call: Call) -> Converted:
    x, w = call.inputs[0], call.inputs[1]
    half = rank(x) - 2
    strides = [int(s) for s in call.attr("strides", [1] * half)]
    dilations = [int(d) for d in call.attr("dilations", [1] * half)]
    groups = int(call.attr("group", 1))
    spans = [(k - 1) * d + 1 for k, d in zip(dims(w)[2:], dilations, strict=True)]
    cuts = _cuts(call, dims(x)[2:], spans, strides)
    made = _by_kernel(call, cuts, strides, dilations, groups)
    if made is not None:
        return _with_bias(call, made)
    for axis, stride in enumerate(strides):
        x = _spread(call, x, axis + 2, stride)
    before = [span - 1 - cut[0] for span, cut in zip(spans, cuts, strict=True)]
    after = [span - 1 - cut[1] for span, cut in zip(spans, cuts, strict=True)]
    widths = [0, 0, 0, 0]
    for pair in zip(before, after, strict=True):
        widths += [max(w, 0) for w in pair]
    x = call.emit(relax.op.nn.pad(x, widths, "constant", 0.0)) if any(widths) else x
    for axis, (front, back) in enumerate(zip(before, after, strict=True)):
        if min(front, back) < 0:
            size = dims(x)[axis + 2]
            x = call.slice(x, axis + 2, max(-front, 0), size - max(-back, 0))
    operator, data, kernel = CONVOLUTIONS[half - 1]
    y = call.emit(operator(x, _turned(call, w, groups), 1, 0, dilations, groups, data, kernel))
    return _with_bias(call, y)


def _with_bias(call: Call, y: Any) -> Any:
    if call.input(2) is None:
        return y
    return call.add(y, call.reshape(call.inputs[2], [1, -1, *[1] * (rank(y) - 2)]))


_OPERATORS = {
    1: (relax.op.nn.conv1d_transpose, "NCW", "IOW"),
    2: (relax.op.nn.conv2d_transpose, "NCHW", "IOHW"),
}


def _by_kernel(
    call: Call, cuts: list[tuple[int, int]], strides: list[int], dilations: list[int], groups: int
) -> Any:
    """TVM's operator where it can say what is meant, the weights being known: for those there are
    kernels."""
    x, w = call.inputs[:2]
    extra = [max(-behind, 0) for _, behind in cuts]
    plain = len(strides) in _OPERATORS and dtype_of(x) == FLOAT32 and call.known(w) is not None
    possible = all(front >= 0 for front, _ in cuts) and all(
        more < max(stride, apart)
        for more, stride, apart in zip(extra, strides, dilations, strict=True)
    )
    if not plain or not possible:
        return None
    operator, data, kernel = _OPERATORS[len(strides)]
    pads = [front for front, _ in cuts] + [max(behind, 0) for _, behind in cuts]
    return call.emit(operator(x, w, strides, pads, extra, dilations, groups, data, kernel))


def _cuts(
    call: Call, sizes: list[int], spans: list[int], strides: list[int]
) -> list[tuple[int, int]]:
    """How much of the whole result is cut off in front and behind; less than nothing is added."""
    half, mode = len(sizes), call.attr("auto_pad", "NOTSET")
    extra = [int(e) for e in call.attr("output_padding", [0] * half)]
    shape = call.attr("output_shape")
    pads = [int(p) for p in call.attr("pads", [0] * (2 * half))]
    if shape is None and mode not in ("SAME_UPPER", "SAME_LOWER"):
        pads = [0] * (2 * half) if mode == "VALID" else pads
        return [(pads[i], pads[i + half] - extra[i]) for i in range(half)]
    wanted = [size * s for size, s in zip(sizes, strides, strict=True)] if shape is None else shape
    found = []
    for i in range(half):
        whole = strides[i] * (sizes[i] - 1) + spans[i]
        total = whole + extra[i] - int(wanted[-half:][i])
        first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        found.append((first, total - first - extra[i]))
    return found


def _spread(call: Call, x: Any, axis: int, stride: int) -> Any:
    """Zeros between elements."""
    if stride == 1:
        return x
    shape = dims(x)
    column = call.reshape(x, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
    widths = [0] * (2 * rank(column))
    widths[2 * (axis + 1) + 1] = stride - 1
    padded = call.emit(relax.op.nn.pad(column, widths, "constant", 0.0))
    whole = call.reshape(padded, [*shape[:axis], shape[axis] * stride, *shape[axis + 1 :]])
    return call.slice(whole, axis, 0, (shape[axis] - 1) * stride + 1)


def _turned(call: Call, w: Any, groups: int) -> Any:
    """[in, out / groups, window] -> [out, in / groups, window turned round]."""
    known = call.known(w)
    if known is not None:  # a constant, for which there are kernels
        inputs, outputs, *window = known.shape
        back = np.flip(known, tuple(range(2, known.ndim)))
        split = back.reshape(groups, inputs // groups, outputs, *window).swapaxes(1, 2)
        return array(split.reshape(groups * outputs, inputs // groups, *window))
    for axis in range(2, rank(w)):
        if dims(w)[axis] > 1:
            w = call.take(w, np.arange(dims(w)[axis])[::-1], axis)
    inputs, outputs, *window = dims(w)
    parts = call.reshape(w, [groups, inputs // groups, outputs, *window])
    turned = call.permute(parts, [0, 2, 1, *range(3, rank(parts))])
    return call.reshape(turned, [groups * outputs, inputs // groups, *window])


CONVERTERS: dict[str, Converter] = {"ConvTranspose": _conv_transpose}
