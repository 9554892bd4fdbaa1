"""What puts windows or single elements back where they came from."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    constant,
    dims,
    dtype_of,
)
from tvm_flow.frontend.onnx_operators.transposed import CONVERTERS as _TRANSPOSED


def _col2im(call: Call) -> Converted:
    """A transposed convolution of which each weight puts one column into its place."""
    x, image = call.inputs[0], [int(s) for s in call.value(1)]
    block, half = [int(s) for s in call.value(2)], len(call.value(1))
    n, rows, _ = dims(x)
    channels = rows // math.prod(block)
    strides, dilations = (list(call.attr(name, [1] * half)) for name in ("strides", "dilations"))
    pads = list(call.attr("pads", [0] * (2 * half)))
    spans = [(k - 1) * d + 1 for k, d in zip(block, dilations, strict=True)]
    free = [image[i] + pads[i] + pads[i + half] - spans[i] for i in range(half)]
    counts = [f // s + 1 for f, s in zip(free, strides, strict=True)]
    weights = np.eye(math.prod(block)).reshape(-1, 1, *block)
    given = {"group": channels, "strides": strides, "dilations": dilations, "pads": pads,
             "output_padding": [f % s for f, s in zip(free, strides, strict=True)]}  # fmt: skip
    columns = call.reshape(x, [n, rows, *counts])
    placed = constant(np.tile(weights, (channels, *[1] * (half + 1))), dtype_of(x))
    return _TRANSPOSED["ConvTranspose"](
        Call(call.builder, "ConvTranspose", [columns, placed], given, call.opset, 1,
             call.parameters)
    )  # fmt: skip


def _max_unpool(call: Call) -> Converted:
    """Zero but at the places that MaxPool told: their numbers in the whole tensor."""
    if call.input(2) is not None:
        raise NotConvertibleError(
            "it is given its output's shape, for which engines count places differently"
        )
    x, places = call.inputs[:2]
    kernel = [int(k) for k in call.attr("kernel_shape")]
    half = len(kernel)
    strides, pads = call.attr("strides", [1] * half), call.attr("pads", [0] * (2 * half))
    sizes = [
        (size - 1) * int(strides[i]) + kernel[i] - int(pads[i]) - int(pads[i + half])
        for i, size in enumerate(dims(x)[2:])
    ]
    shape = [*dims(x)[:2], *sizes]
    nothing = call.zeros([math.prod(shape)], dtype_of(x))
    flat, at = call.reshape(x, [-1]), call.reshape(places, [-1])
    return call.reshape(call.emit(relax.op.scatter_elements(nothing, at, flat, 0)), shape)


CONVERTERS: dict[str, Converter] = {"Col2Im": _col2im, "MaxUnpool": _max_unpool}
