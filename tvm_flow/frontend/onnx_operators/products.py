"""Products of matrices, however they are written."""

from __future__ import annotations

import math
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


def _gemm(call: Call) -> Converted:
    a, b = call.inputs[:2]
    a = call.permute(a, [1, 0]) if call.attr("transA", 0) else a
    b = call.permute(b, [1, 0]) if call.attr("transB", 0) else b
    y = call.op(relax.op.matmul, a, b)
    alpha, beta = float(call.attr("alpha", 1.0)), float(call.attr("beta", 1.0))
    y = y if alpha == 1.0 else call.multiply(y, alpha)
    c = call.input(2)
    if c is None or beta == 0.0:
        return y
    return call.add(y, c if beta == 1.0 else call.multiply(c, beta))


def _matmul(call: Call) -> Converted:
    return call.op(relax.op.matmul, *call.inputs)


def _einsum(call: Call) -> Converted:
    """Operand after operand; an ellipsis stands for axes named by capitals that are free."""
    terms, result = _terms(call, call.attr("equation"))
    left, x = terms[0], call.inputs[0]
    left, x = _diagonal(call, left, x)
    for place, right in enumerate(terms[1:], 1):
        rest = set("".join(terms[place + 1 :]) + result)
        name, y = _diagonal(call, right, call.inputs[place])
        left, x = _contracted(call, (left, x), (name, y), rest)
    gone = [axis for axis, name in enumerate(left) if name not in result]
    if gone:
        x = call.emit(relax.op.sum(x, gone))
        left = "".join(name for name in left if name in result)
    return call.permute(x, [left.index(name) for name in result]) if left else x


def _terms(call: Call, equation: str) -> tuple[list[str], str]:
    before, arrow, after = equation.replace(" ", "").partition("->")
    terms = before.split(",")
    hidden = [rank(x) - len(t.replace("...", "")) for t, x in zip(terms, call.inputs, strict=True)]
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    most = max([h for h, t in zip(hidden, terms, strict=True) if "..." in t], default=0)
    names = "".join(free[:most])
    told = [
        t.replace("...", names[most - h :] if h else "") for t, h in zip(terms, hidden, strict=True)
    ]
    if arrow:
        return told, after.replace("...", names)
    once = sorted(c for c in set("".join(told)) - set(names) if "".join(told).count(c) == 1)
    return told, names + "".join(once)


def _diagonal(call: Call, name: str, x: Any) -> tuple[str, Any]:
    """Axes of one name are one: their diagonal."""
    for letter in sorted(set(name)):
        while name.count(letter) > 1:
            first, second = [i for i, c in enumerate(name) if c == letter][:2]
            rest = [a for a in range(rank(x)) if a not in (first, second)]
            size = dims(x)[first]
            flat = call.reshape(
                call.permute(x, [first, second, *rest]),
                [size * size, *[dims(x)[a] for a in rest]],
            )
            x = call.take(flat, np.arange(size) * (size + 1), 0)
            name = letter + "".join(name[a] for a in rest)
    return name, x


def _contracted(
    call: Call, a: tuple[str, Any], b: tuple[str, Any], kept: set[str]
) -> tuple[str, Any]:
    """A product of matrices [batch, a's own, summed] and [batch, summed, b's own]."""
    (left, x), (right, y) = a, b
    x, left = _summed(call, x, left, kept | set(right))
    y, right = _summed(call, y, right, kept | set(left))
    sizes = {c: s for n, t in ((left, x), (right, y)) for c, s in zip(n, dims(t), strict=True)}
    batch = [c for c in left if c in right and c in kept]
    common = [c for c in left if c in right and c not in kept]
    own_x, own_y = ([c for c in n if c not in o] for n, o in ((left, right), (right, left)))

    def folded(x: Any, name: str, *groups: list[str]) -> Any:
        order = [name.index(c) for group in groups for c in group]
        shape = [math.prod(sizes[c] for c in group) for group in groups]
        return call.reshape(call.permute(x, order), shape)

    product = call.op(
        relax.op.matmul,
        folded(x, left, batch, own_x, common),
        folded(y, right, batch, common, own_y),
    )
    names = [*batch, *own_x, *own_y]
    return "".join(names), call.reshape(product, [sizes[c] for c in names])


def _summed(call: Call, x: Any, name: str, needed: set[str]) -> tuple[Any, str]:
    gone = [axis for axis, c in enumerate(name) if c not in needed]
    if not gone:
        return x, name
    return call.emit(relax.op.sum(x, gone)), "".join(c for c in name if c in needed)


def _dft(call: Call) -> Converted:
    """A product with a matrix of sines and cosines; the last axis holds real and imaginary parts.

    The axis is an attribute before operator set 20, an input since."""
    x = call.inputs[0]
    length, axis = call.value(1), call.attrs.get("axis")
    if axis is None:
        axis = call.value(2, np.array(-2 if call.opset >= 20 else 1))
    axis = int(np.asarray(axis).reshape(-1)[0]) % rank(x)
    size = dims(x)[axis] if length is None else int(np.asarray(length).reshape(-1)[0])
    inverse, onesided = bool(call.attr("inverse", 0)), bool(call.attr("onesided", 0))
    order = [*[a for a in range(rank(x) - 1) if a != axis], axis, rank(x) - 1]
    turned = call.permute(x, order)
    if inverse and onesided:
        size = 2 * (dims(x)[axis] - 1) if length is None else size
        y = _real(call, _sized(call, turned, size // 2 + 1), size)
        return call.permute(y, np.argsort(order).tolist())
    turned = _sized(call, turned, size)
    y = spectrum(call, turned, size // 2 + 1 if onesided else size, inverse)
    return call.permute(y, np.argsort(order).tolist())


def _real(call: Call, x: Any, size: int) -> Any:
    """The real numbers [..., time, 1] whose spectrum starts with [..., frequency, 2]: the rest of
    it is what it starts with, turned round and conjugated."""
    *outer, count, _ = dims(x)
    angle = 2 * np.pi * np.outer(np.arange(count), np.arange(size)) / size
    twice = np.array([1 if 2 * k in (0, size) else 2 for k in range(count)])[:, None] / size
    matrix = np.stack([np.cos(angle) * twice, -np.sin(angle) * twice], 1).reshape(2 * count, size)
    rows = call.reshape(x, [math.prod(outer), 2 * count])
    made = call.op(relax.op.matmul, rows, constant(matrix, dtype_of(x)))
    return call.reshape(made, [*outer, size, 1])


def _sized(call: Call, x: Any, size: int) -> Any:
    """Cut off or filled up with zeros along the last axis but one."""
    axis = rank(x) - 2
    if dims(x)[axis] > size:
        return call.slice(x, axis, 0, size)
    if dims(x)[axis] == size:
        return x
    widths = [0] * (2 * rank(x))
    widths[2 * axis + 1] = size - dims(x)[axis]
    return call.emit(relax.op.nn.pad(x, widths, "constant", 0.0))


def spectrum(call: Call, x: Any, count: int, inverse: bool = False) -> Any:
    """The first ``count`` frequencies of [..., time, real or complex] as [..., frequency, 2]."""
    *outer, size, parts = dims(x)
    angle = 2 * np.pi * np.outer(np.arange(size), np.arange(count)) / size
    scale = 1 / size if inverse else 1.0
    real, imaginary = np.cos(angle) * scale, np.sin(angle) * (scale if inverse else -scale)
    matrix = np.zeros((size, parts, count, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = real, imaginary
    if parts == 2:
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -imaginary, real
    rows = call.reshape(x, [math.prod(outer), size * parts])
    made = call.op(
        relax.op.matmul, rows, constant(matrix.reshape(size * parts, count * 2), dtype_of(x))
    )
    return call.reshape(made, [*outer, count, 2])


def _stft(call: Call) -> Converted:
    signal, window = call.inputs[0], call.input(2)
    step = int(np.asarray(call.value(1)).reshape(-1)[0])
    length = call.value(3)
    size = dims(window)[0] if length is None else int(np.asarray(length).reshape(-1)[0])
    time = dims(signal)[1]
    frames = (time - size) // step + 1
    places = np.arange(frames)[:, None] * step + np.arange(size)
    cut = call.take(signal, places, 1)
    if rank(signal) == 2:
        cut = call.reshape(cut, [*dims(cut), 1])
    if window is not None:
        cut = call.multiply(cut, call.reshape(window, [1, 1, size, 1]))
    return spectrum(call, cut, size // 2 + 1 if call.attr("onesided", 1) else size)


CONVERTERS: dict[str, Converter] = {
    "DFT": _dft,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "STFT": _stft,
}
