"""Reductions and normalisations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tvm_flow.frontend.onnx_operators.call import (
    Call,
    Converted,
    Converter,
    constant,
    dims,
    dtype_of,
    rank,
)

Reduce = Callable[[Call, Any, list[int], bool], Any]


def _plain(operator: Callable[..., Any]) -> Reduce:
    return lambda call, x, axes, kept: call.emit(operator(x, axes, keepdims=kept))


def _sum_of(prepare: Callable[[Call, Any], Any]) -> Reduce:
    return lambda call, x, axes, kept: call.emit(
        relax.op.sum(prepare(call, x), axes, keepdims=kept)
    )


def _square(call: Call, x: Any) -> Any:
    return call.multiply(x, x)


def _after(operator: Callable[..., Any], reduce: Reduce) -> Reduce:
    return lambda call, x, axes, kept: call.op(operator, reduce(call, x, axes, kept))


def _log_sum_exp(call: Call, x: Any, axes: list[int], kept: bool) -> Any:
    """Less the largest, so that nothing overflows; the largest may be infinite."""
    largest = call.emit(relax.op.max(x, axes, keepdims=True))
    finite = call.op(relax.op.less, call.op(relax.op.abs, largest), np.inf)
    largest = call.emit(relax.op.where(finite, largest, constant(0, dtype_of(x))))
    powers = call.op(relax.op.exp, call.subtract(x, largest))
    total = call.op(relax.op.log, call.emit(relax.op.sum(powers, axes, keepdims=kept)))
    return call.add(total, largest if kept else call.reshape(largest, dims(total)))


def _extreme(operator: Callable[..., Any], none: float) -> Reduce:
    """Of booleans by way of integers. TVM starts with the farthest finite number: where all are
    beyond it, ``none`` is put back."""

    def reduce(call: Call, x: Any, axes: list[int], kept: bool) -> Any:
        whole = call.cast(x, "int8") if dtype_of(x) == "bool" else x
        found = call.cast(call.emit(operator(whole, axes, keepdims=kept)), dtype_of(x))
        if np.dtype(dtype_of(x)).kind != "f":
            return found
        inside = call.cast(call.op(relax.op.not_equal, x, none), "int32")
        count = call.emit(relax.op.sum(inside, axes, keepdims=kept))
        filled = call.op(relax.op.greater, count, 0)
        return call.emit(relax.op.where(filled, found, constant(none, dtype_of(x))))

    return reduce


def _mean(call: Call, x: Any, axes: list[int], kept: bool) -> Any:
    if np.dtype(dtype_of(x)).kind == "f":
        return call.emit(relax.op.mean(x, axes, keepdims=kept))
    total = call.emit(relax.op.sum(call.cast(x, "float64"), axes, keepdims=kept))
    count = math.prod(dims(x)[axis] for axis in axes)
    return call.cast(call.divide(total, count), dtype_of(x))


def _reduction(reduce: Reduce) -> Converter:
    """Axes are an attribute in old operator sets and an input in new ones; none are all of them, or
    none where the node says so. Over none, what is done to single elements is still done."""

    def convert(call: Call) -> Converted:
        x = call.inputs[0]
        axes = call.ints(1, "axes", [])
        if not axes and call.attr("noop_with_empty_axes", 0):
            row = call.reshape(x, [*dims(x), 1])
            return call.reshape(reduce(call, row, [rank(x)], False), dims(x))
        axes = sorted(axis % rank(x) for axis in axes) or list(range(rank(x)))
        if not axes:
            return call.reshape(reduce(call, call.reshape(x, [1]), [0], False), [])
        return reduce(call, x, axes, bool(call.attr("keepdims", 1)))

    return convert


def _position(operator: Callable[..., Any]) -> Converter:
    """Index of an extreme element: the first, or the last."""

    def convert(call: Call) -> Converted:
        x = call.inputs[0]
        axis = int(call.attr("axis", 0)) % rank(x)
        size, kept = dims(x)[axis], bool(call.attr("keepdims", 1))
        if not call.attr("select_last_index", 0):
            return call.emit(operator(x, axis, kept))
        turned = call.take(x, np.arange(size)[::-1], axis)
        return call.subtract(size - 1, call.emit(operator(turned, axis, kept)))

    return convert


def statistics(call: Call, x: Any, axes: Sequence[int]) -> tuple[Any, Any, Any]:
    """``x`` less its mean, the mean, and the mean square of the first: E[x²] − E[x]² would have
    nothing left for a large mean."""
    mean = call.emit(relax.op.mean(x, list(axes), keepdims=True))
    centred = call.subtract(x, mean)
    return centred, mean, call.emit(
        relax.op.mean(call.multiply(centred, centred), list(axes), keepdims=True)
    )  # fmt: skip


def _standard(call: Call, centred: Any, variance: Any) -> Any:
    epsilon = float(call.attr("epsilon", 1e-5))
    return call.divide(centred, call.op(relax.op.sqrt, call.add(variance, epsilon)))


def _batch_norm(call: Call) -> Converted:
    """Of the statistics it is given: TVM's operator where they and the others are constants, which
    convolutions absorb. With ``training_mode`` of the batch's, beside the running ones."""
    x, scale, bias, *running = call.inputs
    column = [-1, *[1] * (rank(x) - 2)]
    if not call.attr("training_mode", 0):
        if all(call.known(value) is not None for value in call.inputs[1:]):
            return _inference(call)
        mean, variance = (call.reshape(value, column) for value in running)
        standard = _standard(call, call.subtract(x, mean), variance)
        return _scaled(call, standard, scale, bias, column)
    centred, *found = statistics(call, x, [a for a in range(rank(x)) if a != 1])
    results = [_scaled(call, _standard(call, centred, found[1]), scale, bias, column)]
    momentum = float(call.attr("momentum", 0.9))
    for old, new in zip(running, found, strict=True):
        added = call.multiply(call.reshape(new, [-1]), 1.0 - momentum)
        results.append(call.add(call.multiply(old, momentum), added))
    return relax.Tuple(results) if call.results > 1 else results[0]


def _inference(call: Call) -> Any:
    x, scale, bias, mean, variance = call.inputs
    epsilon = float(call.attr("epsilon", 1e-5))
    whole = call.emit(relax.op.nn.batch_norm(x, scale, bias, mean, variance, 1, epsilon=epsilon))
    return call.emit(relax.TupleGetItem(whole, 0))


def _scaled(call: Call, x: Any, scale: Any, bias: Any, column: Sequence[int]) -> Any:
    scaled = call.multiply(x, call.reshape(scale, column))
    return call.add(scaled, call.reshape(bias, column))


def _instance_norm(call: Call) -> Converted:
    x, scale, bias = call.inputs
    centred, _, variance = statistics(call, x, range(2, rank(x)))
    column = [-1, *[1] * (rank(x) - 2)]
    return _scaled(call, _standard(call, centred, variance), scale, bias, column)


def _group_norm(call: Call) -> Converted:
    """Scale and bias are per group before operator set 21, per channel since."""
    x, scale, bias = call.inputs
    groups, shape = int(call.attr("num_groups")), dims(x)
    parts = call.reshape(x, [shape[0], groups, -1])
    centred, _, variance = statistics(call, parts, [2])
    standard = _standard(call, centred, variance)
    if call.opset < 21 and dims(scale)[0] == groups:
        return call.reshape(_scaled(call, standard, scale, bias, [1, -1, 1]), shape)
    return _scaled(call, call.reshape(standard, shape), scale, bias,
                   [1, -1, *[1] * (rank(x) - 2)])  # fmt: skip


def _layer_norm(call: Call) -> Converted:
    x = call.inputs[0]
    first = int(call.attr("axis", -1)) % rank(x)
    centred, mean, variance = statistics(call, x, range(first, rank(x)))
    y = call.multiply(_standard(call, centred, variance), call.inputs[1])
    if call.input(2) is not None:
        y = call.add(y, call.inputs[2])
    if call.results == 1:
        return y
    deviation = call.op(relax.op.sqrt, call.add(variance, float(call.attr("epsilon", 1e-5))))
    return relax.Tuple([y, mean, call.divide(constant(1.0, dtype_of(x)), deviation)])


def _rms_norm(call: Call) -> Converted:
    x = call.inputs[0]
    axes = list(range(int(call.attr("axis", -1)) % rank(x), rank(x)))
    squares = call.emit(relax.op.mean(_square(call, x), axes, keepdims=True))
    return call.multiply(_standard(call, x, squares), call.inputs[1])


def _standardise(call: Call) -> Converted:
    x = call.inputs[0]
    centred, _, variance = statistics(call, x, [int(a) for a in call.attr("axes", (0, 2, 3))])
    small = 1e-9  # the operator's definition
    return call.divide(centred, call.add(call.op(relax.op.sqrt, variance), small))


def _local_response(call: Call) -> Converted:
    """Sums of squares over neighbouring channels, ``size`` of them; the odd one is behind."""
    x, size = call.inputs[0], int(call.attr("size"))
    before, after = (size - 1) // 2, size // 2
    widths = [0, 0, before, after, *[0, 0] * (rank(x) - 2)]
    squares = call.emit(relax.op.nn.pad(_square(call, x), widths, "constant", 0.0))
    total = call.slice(squares, 1, 0, dims(x)[1])
    for start in range(1, size):
        total = call.add(total, call.slice(squares, 1, start, start + dims(x)[1]))
    scaled = call.multiply(total, float(call.attr("alpha", 1e-4)) / size)
    base = call.add(scaled, float(call.attr("bias", 1.0)))
    return call.divide(x, call.op(relax.op.power, base, float(call.attr("beta", 0.75))))


def _lp_normalisation(call: Call) -> Converted:
    """Where everything is zero, it stays so."""
    x, axis = call.inputs[0], int(call.attr("axis", -1)) % rank(call.inputs[0])
    absolute = call.op(relax.op.abs, x) if int(call.attr("p", 2)) == 1 else _square(call, x)
    norm = call.emit(relax.op.sum(absolute, [axis], keepdims=True))
    if int(call.attr("p", 2)) == 2:
        norm = call.op(relax.op.sqrt, norm)
    nothing = call.op(relax.op.equal, norm, 0)
    return call.divide(x, call.emit(relax.op.where(nothing, constant(1, dtype_of(x)), norm)))


def _flat_rows(call: Call, of_rows: Callable[[Call, Any, int], Any]) -> Any:
    """Before operator set 13: over all axes from ``axis`` on at once."""
    x = call.inputs[0]
    if call.opset >= 13:
        return of_rows(call, x, int(call.attr("axis", -1)) % rank(x))
    first = int(call.attr("axis", 1)) % max(rank(x), 1) if rank(x) > 1 else 0
    rows = call.reshape(x, [math.prod(dims(x)[:first]), -1])
    return call.reshape(of_rows(call, rows, 1), dims(x))


def _hard_rows(call: Call, x: Any, axis: int) -> Any:
    """One at the first of the largest, else zero."""
    first = call.emit(relax.op.argmax(x, axis, True))
    column = [-1 if a == axis else 1 for a in range(rank(x))]
    places = relax.const(np.arange(dims(x)[axis]).reshape(column), "int64")
    return call.cast(call.op(relax.op.equal, places, first), dtype_of(x))


def _log_rows(call: Call, x: Any, axis: int) -> Any:
    largest = call.emit(relax.op.max(x, [axis], keepdims=True))
    shifted = call.subtract(x, largest)
    powers = call.op(relax.op.exp, shifted)
    total = call.emit(relax.op.sum(powers, [axis], keepdims=True))
    return call.subtract(shifted, call.op(relax.op.log, total))


_L1 = _sum_of(lambda call, x: call.op(relax.op.abs, x))
_SUM, _SQUARES = _plain(relax.op.sum), _sum_of(_square)

CONVERTERS: dict[str, Converter] = {
    "ArgMax": _position(relax.op.argmax),
    "ArgMin": _position(relax.op.argmin),
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "Hardmax": lambda call: _flat_rows(call, _hard_rows),
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": lambda call: _flat_rows(call, _log_rows),
    "LpNormalization": _lp_normalisation,
    "MeanVarianceNormalization": _standardise,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduction(_L1),
    "ReduceL2": _reduction(_after(relax.op.sqrt, _SQUARES)),
    "ReduceLogSum": _reduction(_after(relax.op.log, _SUM)),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(_extreme(relax.op.max, -np.inf)),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_extreme(relax.op.min, np.inf)),
    "ReduceProd": _reduction(_plain(relax.op.prod)),
    "ReduceSum": _reduction(_SUM),
    "ReduceSumSquare": _reduction(_SQUARES),
    "Softmax": lambda call: _flat_rows(
        call, lambda call, x, axis: call.emit(relax.op.nn.softmax(x, axis))
    ),
}
