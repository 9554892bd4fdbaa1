"""One ONNX node on its way to Relax, and the small operators that all conversions are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import tvm
from tvm import relax

from tvm_flow.schedules.contract.dtypes import FLOAT32


class NotConvertibleError(Exception):
    """What the node asks for cannot be expressed; the text says what it is."""


@dataclass
class Call:
    """``inputs``: Relax expressions, ``None`` for those left out; ``attrs``: by name; ``opset``: of
    the model; ``results``: how many the node names. ``parameters``: initialisers by variable name.
    """

    builder: relax.BlockBuilder
    operator: str
    inputs: list[Any]
    attrs: dict[str, Any]
    opset: int
    results: int
    parameters: dict[str, Any]

    def attr(self, name: str, default: Any = None) -> Any:
        """Text for text, as Python has it."""
        found = self.attrs.get(name, default)
        return found.decode() if isinstance(found, bytes) else found

    def input(self, index: int) -> Any:
        """``None`` where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def value(self, index: int, absent: Any = None) -> Any:
        """NumPy array of a constant input; ``absent`` where it is left out. Raises
        :class:`NotConvertibleError` for one that is computed."""
        found = self.input(index)
        if found is None:
            return absent
        value = self.known(found)
        if value is None:
            raise NotConvertibleError(f"its input {index} is computed, and had to be a constant")
        return value

    def known(self, x: Any) -> Any:
        """NumPy array of a constant expression, else ``None``."""
        if isinstance(x, tvm.ir.GenericConst):
            return x.value.numpy()
        if isinstance(x, relax.ShapeExpr):
            return np.array([int(size) for size in x.values], np.int64)
        stored = self.parameters.get(str(getattr(x, "name", "")))
        return None if stored is None else stored[1].numpy()

    def ints(self, index: int, name: str, absent: Any = None) -> Any:
        """Integers that are an attribute in old operator sets, and a constant input in new ones;
        ``absent`` where they are neither."""
        found = self.attrs.get(name)
        if found is None:
            found = self.value(index)
        return absent if found is None else [int(value) for value in np.asarray(found).reshape(-1)]

    def emit(self, expression: Any) -> Any:
        return self.builder.emit(expression)

    def op(self, operator: Callable[..., Any], *args: Any, **attrs: Any) -> Any:
        """``operator`` of expressions; numbers get the type of the first tensor."""
        kind = next((dtype_of(a) for a in args if isinstance(a, relax.Expr)), None)
        if kind is None:
            raise TypeError(f"{operator} of numbers alone")
        given = [
            constant(a, kind) if isinstance(a, (int, float)) and not isinstance(a, bool) else a
            for a in args
        ]
        return self.emit(operator(*given, **attrs))

    def add(self, a: Any, b: Any) -> Any:
        return self.op(relax.op.add, a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.op(relax.op.subtract, a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self.op(relax.op.multiply, a, b)

    def divide(self, a: Any, b: Any) -> Any:
        return self.op(relax.op.divide, a, b)

    def reshape(self, x: Any, shape: Sequence[int]) -> Any:
        return self.emit(relax.op.reshape(x, [int(size) for size in shape]))

    def permute(self, x: Any, axes: Sequence[int]) -> Any:
        axes = [int(axis) for axis in axes]
        return x if axes == list(range(len(axes))) else self.emit(relax.op.permute_dims(x, axes))

    def cast(self, x: Any, dtype: str) -> Any:
        return x if dtype_of(x) == dtype else self.emit(relax.op.astype(x, dtype))

    def take(self, x: Any, places: Any, axis: int) -> Any:
        """Elements of ``axis`` at constant ``places``, which are not negative."""
        indices = relax.const(np.asarray(places), "int64")
        return self.emit(relax.op.take(x, indices, axis, mode="wrap"))

    def slice(self, x: Any, axis: int, start: int, stop: int) -> Any:
        return self.emit(relax.op.strided_slice(x, [axis], [start], [stop]))

    def concat(self, parts: Sequence[Any], axis: int) -> Any:
        return parts[0] if len(parts) == 1 else self.emit(relax.op.concat(list(parts), axis))

    def broadcast(self, x: Any, shape: Sequence[int]) -> Any:
        shape = [int(size) for size in shape]
        return x if dims(x) == shape else self.emit(relax.op.broadcast_to(x, shape))

    def zeros(self, shape: Sequence[int], dtype: str) -> Any:
        return array(np.zeros(shape, dtype))


def dims(x: Any) -> list[int]:
    return [int(size) for size in x.ty.shape.values]


def rank(x: Any) -> int:
    return len(x.ty.shape.values)


def dtype_of(x: Any) -> str:
    return str(x.ty.dtype)


def constant(value: Any, dtype: str = FLOAT32.value) -> Any:
    return relax.const(np.asarray(value).astype(dtype), dtype)


def array(value: Any) -> Any:
    """A NumPy array with the type that it has: TVM halves that of those of 64 bits."""
    return relax.const(value, str(value.dtype))


def numpy_type(code: int) -> str:
    """Of an ONNX element type. Raises :class:`NotConvertibleError` for those that NumPy has not."""
    dtype = onnx.helper.tensor_dtype_to_np_dtype(code)
    if dtype.kind not in "fiub" or dtype.name.startswith("bfloat"):
        raise NotConvertibleError(f"its result is {dtype.name}")
    return str(dtype)


Converted = Any
Converter = Callable[[Call], Converted]
