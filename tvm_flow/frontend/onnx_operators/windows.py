"""Convolutions and pooling: what slides over the axes behind the channels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_corrected import same_pads
from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    constant,
    dims,
    dtype_of,
    rank,
)
from tvm_flow.schedules.contract.dtypes import FLOAT32


class Window:
    """Attributes of a sliding window, with their defaults."""

    def __init__(self, call: Call, kernel: list[int]) -> None:
        ones = [1] * len(kernel)
        self.kernel = kernel
        self.strides = [int(s) for s in call.attr("strides", ones)]
        self.dilations = [int(d) for d in call.attr("dilations", ones)]
        self.sizes = dims(call.inputs[0])[2:]
        self.pads = self._pads(call)
        self.ceil = bool(call.attr("ceil_mode", 0))

    def _pads(self, call: Call) -> list[int]:
        mode = call.attr("auto_pad", "NOTSET")
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            return list(same_pads(mode, self.sizes, self.kernel, self.strides, self.dilations))
        nothing = [0] * (2 * len(self.kernel))
        return nothing if mode == "VALID" else [int(p) for p in call.attr("pads", nothing)]

    @property
    def outputs(self) -> list[int]:
        """Sizes of the result; a window that would start behind the front pad and the input does
        not count."""
        found = []
        for i, size in enumerate(self.sizes):
            count = self._most(i)
            if self.ceil and (count - 1) * self.strides[i] >= size + self.pads[i]:
                count -= 1
            found.append(count)
        return found

    @property
    def plain(self) -> bool:
        """Whether TVM's pooling computes it: pads below the window, which all operators agree on,
        and whole windows."""
        half = len(self.kernel)
        pairs = zip(self.pads[:half], self.pads[half:], self.kernel, strict=True)
        small = all(2 * max(before, after) <= size for before, after, size in pairs)
        return small and not self.ceil and all(d == 1 for d in self.dilations)

    @property
    def of_images(self) -> bool:
        """Whether it is one of images with as many windows as TVM's pooling has. Kernels compute
        these whatever their pads and dilation, and whatever the last windows lack."""
        return len(self.kernel) == 2 and self.outputs == [self._most(0), self._most(1)]

    def _most(self, axis: int) -> int:
        """Windows along an axis that fit, or, rounding up, that begin in front of its end."""
        before, after = self.pads[axis], self.pads[axis + len(self.sizes)]
        reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        free = self.sizes[axis] + before + after - reach
        return (-(-free // self.strides[axis]) if self.ceil else free // self.strides[axis]) + 1

    def parts(self, call: Call, x: Any, filling: float) -> Any:
        """Each element of the window at all places at once: an iterator of (place in the window,
        which old elements along each axis, tensor)."""
        half, outputs = len(self.kernel), self.outputs
        ends = [
            max((count - 1) * s + (k - 1) * d + 1 - size - before, 0)
            for count, s, k, d, size, before in zip(
                outputs, self.strides, self.kernel, self.dilations, self.sizes, self.pads[:half],
                strict=True,
            )
        ]  # fmt: skip
        widths = [0, 0, 0, 0]
        for before, after in zip(self.pads[:half], ends, strict=True):
            widths += [before, after]
        if any(widths):
            x = call.emit(relax.op.nn.pad(x, widths, "constant", filling))
        for place in itertools.product(*map(range, self.kernel)):
            starts = [p * d for p, d in zip(place, self.dilations, strict=True)]
            stops = [
                start + (count - 1) * stride + 1
                for start, count, stride in zip(starts, outputs, self.strides, strict=True)
            ]
            axes = list(range(2, 2 + half))
            yield starts, call.emit(relax.op.strided_slice(x, axes, starts, stops, self.strides))


_POOLS = {
    "max": (relax.op.nn.max_pool1d, relax.op.nn.max_pool2d, relax.op.nn.max_pool3d),
    "avg": (relax.op.nn.avg_pool1d, relax.op.nn.avg_pool2d, relax.op.nn.avg_pool3d),
}


def _pooled(call: Call, x: Any, window: Window, kind: str, **attrs: Any) -> Any:
    """TVM's operator."""
    operator = _POOLS[kind][len(window.kernel) - 1]
    more = {"dilation": window.dilations, "ceil_mode": window.ceil, **attrs}
    return call.emit(operator(x, window.kernel, window.strides, window.pads, **more))


def _has_kernel(window: Window, x: Any) -> bool:
    return window.plain or (window.of_images and dtype_of(x) == FLOAT32)


def _max_pool(call: Call) -> Converted:
    x = call.inputs[0]
    window = Window(call, [int(k) for k in call.attr("kernel_shape")])
    if _has_kernel(window, x) and call.results == 1 and np.dtype(dtype_of(x)).kind == "f":
        return _pooled(call, x, window, "max")
    if call.results > 1:
        return _max_pool_with_places(call, window)
    y = None
    kind = np.dtype(dtype_of(x))
    wide = x if kind.kind == "f" else call.cast(x, "float64")
    for _, part in window.parts(call, wide, -math.inf):
        y = part if y is None else call.op(relax.op.maximum, y, part)
    return call.cast(y, str(kind))


def _max_pool_with_places(call: Call, window: Window) -> Any:
    """Beside the largest, where it was found: its number in the whole tensor, the last axis first
    unless ``storage_order`` says otherwise."""
    x, half = call.inputs[0], len(window.kernel)
    order = range(half) if call.attr("storage_order", 0) else reversed(range(half))
    factors, step = [0] * half, 1
    for axis in order:
        factors[axis], step = step, step * window.sizes[axis]
    best = where = None
    for starts, part in window.parts(call, x, -math.inf):
        at: Any = np.zeros([1] * half, np.int64)
        for axis, count in enumerate(window.outputs):
            column = [-1 if a == axis else 1 for a in range(half)]
            places = starts[axis] + np.arange(count) * window.strides[axis] - window.pads[axis]
            at = at + (places * factors[axis]).reshape(column)
        here = relax.const(np.broadcast_to(at, window.outputs).copy(), "int64")
        if best is None:
            best, where = part, call.broadcast(here, dims(part))
            continue
        larger = call.op(relax.op.greater, part, best)
        best = call.emit(relax.op.where(larger, part, best))
        where = call.emit(relax.op.where(larger, here, where))
    n, c = dims(x)[:2]
    first = (np.arange(n * c) * step).reshape(n, c, *[1] * half)
    return relax.Tuple([best, call.add(where, relax.const(first, "int64"))])


def _average_pool(call: Call) -> Converted:
    x = call.inputs[0]
    window = Window(call, [int(k) for k in call.attr("kernel_shape")])
    counted = bool(call.attr("count_include_pad", 0))
    if _has_kernel(window, x):
        return _pooled(call, x, window, "avg", count_include_pad=counted)
    total = _window_sum(call, x, window)
    return call.divide(total, constant(_counts(window, counted), dtype_of(x)))


def _window_sum(call: Call, x: Any, window: Window) -> Any:
    total = None
    for _, part in window.parts(call, x, 0.0):
        total = part if total is None else call.add(total, part)
    return total


def _counts(window: Window, counted: bool) -> Any:
    """How many elements each mean is of, with or without the pads."""
    half = len(window.kernel)
    whole: Any = np.ones([1] * half)
    for axis, count in enumerate(window.outputs):
        before, size = window.pads[axis], window.sizes[axis]
        behind = size + window.pads[axis + half] if counted else size
        starts = np.arange(count) * window.strides[axis] - before
        taps = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        found = ((taps >= (-before if counted else 0)) & (taps < behind)).sum(1)
        whole = whole * found.reshape([-1 if a == axis else 1 for a in range(half)])
    return whole


def _lp_pool(call: Call) -> Converted:
    x, p = call.inputs[0], int(call.attr("p", 2))
    window = Window(call, [int(k) for k in call.attr("kernel_shape")])
    return _root(call, _window_sum(call, _powered(call, x, p), window), p)


def _powered(call: Call, x: Any, p: int) -> Any:
    absolute = call.op(relax.op.abs, x)
    return absolute if p == 1 else call.op(relax.op.power, absolute, float(p))


def _root(call: Call, x: Any, p: int) -> Any:
    return x if p == 1 else call.op(relax.op.power, x, 1.0 / p)


def _global_lp_pool(call: Call) -> Converted:
    x, p = call.inputs[0], int(call.attr("p", 2))
    axes = list(range(2, rank(x)))
    return _root(call, call.emit(relax.op.sum(_powered(call, x, p), axes, keepdims=True)), p)


def _global_max_pool(call: Call) -> Converted:
    x = call.inputs[0]
    return call.emit(relax.op.max(x, list(range(2, rank(x))), keepdims=True))


def _global_average_pool(call: Call) -> Converted:
    x = call.inputs[0]
    return call.emit(relax.op.mean(x, list(range(2, rank(x))), keepdims=True))


CONVOLUTIONS = (
    (relax.op.nn.conv1d, "NCW", "OIW"),
    (relax.op.nn.conv2d, "NCHW", "OIHW"),
    (relax.op.nn.conv3d, "NCDHW", "OIDHW"),
)


def convolution(call: Call, x: Any, weight: Any) -> Any:
    """Without bias. Raises :class:`NotConvertibleError` for more than three axes."""
    window = Window(call, dims(weight)[2:])
    if not 1 <= len(window.kernel) <= len(CONVOLUTIONS):
        raise NotConvertibleError(f"it has {len(window.kernel)} axes")
    operator, data, kernel = CONVOLUTIONS[len(window.kernel) - 1]
    return call.emit(
        operator(x, weight, window.strides, window.pads, window.dilations,
                 int(call.attr("group", 1)), data, kernel)
    )  # fmt: skip


def _conv(call: Call) -> Converted:
    y = convolution(call, call.inputs[0], call.inputs[1])
    if call.input(2) is None:
        return y
    return call.add(y, call.reshape(call.inputs[2], [1, -1, *[1] * (rank(y) - 2)]))


CONVERTERS: dict[str, Converter] = {
    "AveragePool": _average_pool,
    "Conv": _conv,
    "GlobalAveragePool": _global_average_pool,
    "GlobalLpPool": _global_lp_pool,
    "GlobalMaxPool": _global_max_pool,
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
}
