"""Resize and Upsample: which elements make up each new one, and how much of each, is known when the
model is imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    NotConvertibleError,
    array,
    constant,
    dims,
    dtype_of,
    rank,
)
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.operators.resize import CUBIC_ALPHA, MODES, Axis

Floats = NDArray[np.floating[Any]]
_ROUNDED: dict[str, Callable[[Floats], Floats]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}
_PLACES = "coordinate_transformation_mode"
_METHODS = {"nearest": "nearest", "linear": "linear", "cubic": "cubic"}
_TAPS = 4  # more are a product with a matrix


def _resize(call: Call) -> Converted:
    x = call.inputs[0]
    wanted = _wanted(call, x)
    image = _of_image(call, x, wanted)
    if image is not None:
        return image
    for axis, scale, size in wanted:
        if scale == 1.0 and size == dims(x)[axis] and not _crops(call):
            continue
        x = _along(call, x, axis, scale, size)
    return x


def _of_image(call: Call, x: Any, wanted: list[tuple[int, float, int]]) -> Any:
    """TVM's operator, which kernels compute, where rows and columns change as their sizes say and
    it means the same."""
    changed = {a: (s, n) for a, s, n in wanted if s != 1.0 or n != dims(x)[a]}
    mode = call.attr("mode", "nearest")
    special = any(call.attr(name, 0) for name in ("antialias", "exclude_outside"))
    usual = float(call.attr("cubic_coeff_a", CUBIC_ALPHA)) == CUBIC_ALPHA
    if rank(x) != 4 or dtype_of(x) != FLOAT32 or not {2, 3} >= changed.keys() or not changed:
        return None
    places = "asymmetric" if call.opset < 11 else call.attr(_PLACES, "half_pixel")
    if special or not usual or places not in MODES or mode not in _METHODS:
        return None
    sizes = [changed.get(axis, (1.0, dims(x)[axis]))[1] for axis in (2, 3)]
    rounding = ""
    if mode == "nearest":
        rounding = call.attr("nearest_mode", "round_prefer_floor") if call.opset >= 11 else "floor"
    for axis, new in zip((2, 3), sizes, strict=True):
        old = dims(x)[axis]
        scale = changed.get(axis, (1.0, new))[0]
        if abs(scale * old - new) > 1e-4:
            return None
        ours = Axis(old, new, _METHODS[mode], places, rounding).taps()[0]
        if mode == "nearest" and (ours[:, 0] != _nearest(call, axis, old, new, scale)).any():
            return None
    return call.emit(
        relax.op.image.resize2d(
            x, sizes, layout="NCHW", method=mode if mode != "nearest" else "nearest_neighbor",
            coordinate_transformation_mode=places, rounding_method=rounding or "round",
            cubic_alpha=CUBIC_ALPHA,
        )
    )  # fmt: skip


def _upsample(call: Call) -> Converted:
    """The old operator: asymmetric, and down to the element on the left."""
    call.attrs = {**call.attrs, "coordinate_transformation_mode": "asymmetric",
                  "nearest_mode": "floor"}  # fmt: skip
    x = call.inputs[0]
    scales = call.attrs.get("scales")
    scales = [float(scale) for scale in (call.value(1) if scales is None else scales)]
    wanted = [(a, s, math.floor(dims(x)[a] * s)) for a, s in enumerate(scales)]
    image = _of_image(call, x, wanted)
    if image is not None:
        return image
    for axis, scale, size in wanted:
        if size != dims(x)[axis]:
            x = _along(call, x, axis, scale, size)
    return x


def _wanted(call: Call, x: Any) -> list[tuple[int, float, int]]:
    """Axis, scale and new size of each axis named."""
    old = call.opset < 11  # without a region
    scales, sizes = call.value(1 if old else 2), None if old else call.value(3)
    axes = [int(a) % rank(x) for a in call.attr("axes", range(rank(x)))]
    before = [dims(x)[axis] for axis in axes]
    if sizes is None or not np.asarray(sizes).size:
        factors = [float(s) for s in np.asarray(scales).reshape(-1)]
        after = [math.floor(size * f + 1e-9) for size, f in zip(before, factors, strict=True)]
        return list(zip(axes, factors, after, strict=True))
    after = [int(size) for size in sizes]
    policy = call.attr("keep_aspect_ratio_policy", "stretch")
    factors = [new / size for new, size in zip(after, before, strict=True)]
    if policy != "stretch":
        factor = min(factors) if policy == "not_larger" else max(factors)
        after = [math.floor(factor * size + 0.5) for size in before]
        factors = [factor] * len(axes)
    return list(zip(axes, factors, after, strict=True))


def _crops(call: Call) -> bool:
    return bool(call.attr("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize")


def _along(call: Call, x: Any, axis: int, scale: float, size: int) -> Any:
    old, mode = dims(x)[axis], call.attr("mode", "nearest")
    places = _coordinates(call, axis, old, size, np.float64(FLOAT32.numpy.type(scale)))
    outside = (places < 0) | (places > old - 1)
    if mode == "nearest":
        y = call.take(x, _nearest(call, axis, old, size, scale), axis)
    else:
        y = _weighted(call, x, axis, _taps(call, mode, places, old, scale))
    if not (_crops(call) and outside.any()):
        return y
    column = [-1 if a == axis else 1 for a in range(rank(x))]
    value = constant(float(call.attr("extrapolation_value", 0.0)), dtype_of(x))
    return call.emit(relax.op.where(array(outside.reshape(column)), value, y))


def _coordinates(call: Call, axis: int, old: int, new: int, scale: Any) -> Floats:
    """Where each new element lies among the old ones, in the precision of ``scale``."""
    kind, mode = type(scale), call.attr("coordinate_transformation_mode", "half_pixel")
    if call.opset < 11:
        mode = "asymmetric"
    at, half = np.arange(new).astype(kind), kind(0.5)
    if mode == "align_corners":
        if abs(old * scale - new) > 1e-3:
            raise NotConvertibleError(
                f"corners are aligned and {old} elements times {scale:g} are no whole number, "
                "which engines round differently; give it sizes"
            )
        return at * kind(old - 1) / kind(max(new - 1, 1))
    if mode == "tf_crop_and_resize":
        return _region(call, axis, old, new)
    if mode in ("asymmetric", "tf_half_pixel_for_nn"):
        return np.asarray((at if mode == "asymmetric" else at + half) / scale)
    if mode == "pytorch_half_pixel" and new == 1:
        return np.zeros(1, kind)
    found = (at + half) / scale - half
    if mode == "half_pixel_symmetric":
        exact = old * scale
        centre, lost = kind(old) / kind(2), kind(1) - kind(new) / exact
        found = found + centre * lost
    elif mode not in ("half_pixel", "pytorch_half_pixel"):
        raise NotConvertibleError(f"its coordinate_transformation_mode is {mode}")
    return np.asarray(found)


def _region(call: Call, axis: int, old: int, new: int) -> Floats:
    """Of a part of the axis, given as fractions of it."""
    region = np.asarray(call.value(1), np.float64).reshape(2, -1)
    axes = [int(a) for a in call.attr("axes", range(region.shape[1]))]
    start, end = region[:, axes.index(axis)]
    if new == 1:
        return np.array([0.5 * (start + end) * (old - 1)])
    return np.asarray(start * (old - 1) + np.arange(new) * (end - start) * (old - 1) / (new - 1))


def _nearest(call: Call, axis: int, old: int, new: int, scale: float) -> NDArray[np.int64]:
    """Raises :class:`NotConvertibleError` where rounding decides which of two is nearer."""
    found = []
    for kind in (FLOAT32.numpy.type, np.float64):
        places = _coordinates(call, axis, old, new, kind(FLOAT32.numpy.type(scale)))
        mode = call.attr("nearest_mode", "round_prefer_floor") if call.opset >= 11 else "floor"
        rounded = _ROUNDED[mode](places)
        found.append(rounded.clip(0, old - 1).astype(np.int64))
    if (found[0] != found[1]).any():
        raise NotConvertibleError(
            f"at a scale of {scale:g} two elements are equally near, which engines decide "
            "differently; give it sizes, or another scale"
        )
    return found[1]


def _taps(call: Call, mode: str, places: Floats, old: int, scale: float) -> list[Any]:
    """(old elements, their weights) per tap."""
    stretch = min(scale, 1.0) if call.attr("antialias", 0) else 1.0
    reach = {"linear": 1, "cubic": 2}.get(mode)
    if reach is None:
        raise NotConvertibleError(f"its mode is {mode}")
    span = math.ceil(reach / stretch)
    base = np.floor(places).astype(np.int64)
    taps = []
    for step in range(1 - span, span + 1):
        at = base + step
        distance = np.abs(places - at) * stretch
        weight = _linear(distance) if mode == "linear" else _cubic(
            distance, float(call.attr("cubic_coeff_a", -0.75))
        )  # fmt: skip
        inside = (at >= 0) & (at < old)
        if call.attr("exclude_outside", 0):
            weight = np.where(inside, weight, 0.0)
        taps.append((at.clip(0, old - 1), weight))
    total = np.sum([weight for _, weight in taps], 0)
    return [(at, weight / total) for at, weight in taps if weight.any()]


def _linear(distance: Floats) -> Floats:
    return np.maximum(1.0 - distance, 0.0)


def _cubic(x: Floats, a: float) -> Floats:
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _weighted(call: Call, x: Any, axis: int, taps: list[Any]) -> Any:
    kind = dtype_of(x)
    if np.dtype(kind).kind != "f":
        raise NotConvertibleError(f"it mixes {kind} elements")
    column = [-1 if a == axis else 1 for a in range(rank(x))]
    if len(taps) > _TAPS:
        return _product(call, x, axis, taps)
    total = None
    for places, weight in taps:
        part = call.take(x, places, axis)
        if (weight != 1.0).any():
            part = call.multiply(part, constant(weight.reshape(column), kind))
        total = part if total is None else call.add(total, part)
    return total


def _product(call: Call, x: Any, axis: int, taps: list[Any]) -> Any:
    """With the axis last, and back."""
    new = len(taps[0][0])
    matrix = np.zeros((dims(x)[axis], new))
    for places, weight in taps:
        np.add.at(matrix, (places, np.arange(new)), weight)
    order = [*[a for a in range(rank(x)) if a != axis], axis]
    product = call.op(relax.op.matmul, call.permute(x, order), constant(matrix, dtype_of(x)))
    return call.permute(product, np.argsort(order).tolist())


CONVERTERS: dict[str, Converter] = {"Resize": _resize, "Upsample": _upsample}
