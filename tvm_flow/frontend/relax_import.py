"""Relax -> :class:`tvm_flow.ir.graph.Graph`.

The importer's Relax is straight-line; each binding becomes a node, tuples are resolved on the way
(a split is one slice per part), and parameters become numpy weights that remember the module they
belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tvm
from tvm import relax

from tvm_flow.frontend.relax_operators import (
    HANDLERS,
    Value,
    constant,
    dtype_of,
    shape_of,
    unsupported,
)
from tvm_flow.frontend.relax_windows import WINDOWS
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.support import ctrl_c as _ctrl_c  # noqa: F401 - for its effect
from tvm_flow.support.errors import ImportUnsupportedError


def from_relax(
    mod: tvm.IRModule,
    parameters: Mapping[str, tuple[str, np.ndarray]],
    name: str,
    env: Mapping[str, Any],
    place: Callable[[str], str] = str,
) -> tuple[Graph, dict[str, Node]]:
    """Read ``mod["main"]``.

    ``parameters`` maps names of Relax function parameters to (PyTorch name, value), ``env`` names
    of the model's values to the importer's variables; the nodes that hold those come back beside
    the graph. ``place`` says of such a name which operator makes it, and where.

    Raises :class:`ImportUnsupportedError` for control flow or shapes that are not static, and for
    what a graph cannot hold.
    """
    main = mod["main"]
    reader = _Reader()
    inputs = []
    for param in main.params:
        hint = param.name_hint if hasattr(param, "name_hint") else param.name
        if hint in parameters:
            path, value = parameters[hint]
            reader.bind(param, constant(value, module=path.rpartition(".")[0]))
        else:
            node = Node("input", [], shape_of(param), dtype=dtype_of(param), name=hint)
            inputs.append(node)
            reader.bind(param, node)
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    for number, binding in enumerate(bindings):
        try:
            reader.read(binding)
        except ImportUnsupportedError as error:
            raise _named(error, bindings[number:], env, place) from error
    result = reader.value(main.body.body)
    outputs = result if isinstance(result, list) else [result]
    return Graph(inputs, list(_flat(outputs)), name), reader.origins(env)


def _named(
    error: ImportUnsupportedError,
    pending: list[Any],
    env: Mapping[str, Any],
    place: Callable[[str], str],
) -> ImportUnsupportedError:
    """With the model's operator: the first that what is ``pending`` makes the value of."""
    names = {var.name: name for name, var in env.items() if isinstance(var, relax.Var)}
    made = (names[b.var.name] for b in pending if b.var.name in names)
    if (name := next(made, None)) is None:
        return error
    return ImportUnsupportedError(
        f"Cannot import {place(name)}",
        why=f"{error.what}: {error.why}",
        fix=error.fix,
    )


def _flat(values: list[Any]) -> Iterator[Node]:
    for value in values:
        yield from _flat(value) if isinstance(value, list) else [value]


class _Reader:
    """Values of Relax variables read so far."""

    def __init__(self) -> None:
        self.values: dict[Any, Value] = {}

    def bind(self, var: Any, value: Value) -> None:
        self.values[var] = value

    def origins(self, env: Mapping[str, Any]) -> dict[str, Node]:
        """Which node holds the value of each variable. Binding parameters has made new variables of
        the importer's; names stay, and are unique within a function."""
        held = {var.name: value for var, value in self.values.items()}
        found = {
            name: held.get(var.name) for name, var in env.items() if isinstance(var, relax.Var)
        }
        return {name: node for name, node in found.items() if isinstance(node, Node)}

    def read(self, binding: Any) -> None:
        expr = binding.value
        value = self.call(binding.var, expr) if isinstance(expr, relax.Call) else self.value(expr)
        self.bind(binding.var, value)

    def value(self, expr: Any) -> Value:
        if isinstance(expr, relax.Tuple):
            return [self.value(item) for item in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            whole = self.value(expr.tuple_value)
            return whole[expr.index] if isinstance(whole, list) else whole
        if isinstance(expr, tvm.ir.GenericConst):
            return constant(expr.value.numpy())
        if expr in self.values:
            return self.values[expr]
        raise unsupported(f"a Relax expression of type {type(expr).__name__}")

    def node(self, expr: Any) -> Node:
        value = self.value(expr)
        if isinstance(value, list):
            raise unsupported("a tuple where a tensor is expected")
        return value

    def call(self, var: Any, call: Any) -> Value:
        name = getattr(call.op, "name", str(call.op))
        handler = HANDLERS.get(name) or WINDOWS.get(name)
        if handler is not None:
            value = handler(self, var, call)
            if value is not None:
                return value
        return self.generic(var, call, name)

    def generic(self, var: Any, call: Any, name: str) -> Value:
        """A node that keeps its Relax call; constants stay in the call."""
        if name == "relax.call_tir":
            what = f"an operator that TVM turns into the loop nest {call.args[0].name_hint}"
            raise unsupported(what)
        inputs, slots = [], []
        for index, arg in enumerate(call.args):
            tensor = hasattr(arg, "ty") and isinstance(arg.ty, relax.TensorType)
            if tensor:
                inputs.append(self.node(arg))
                slots.append(index)
            elif _holds_tensors(arg) or arg in self.values:
                raise unsupported(f"{name} of a tuple")
        if not isinstance(var.ty, relax.TensorType):
            raise unsupported(f"{name}, which does not return one tensor")
        attrs = {"call": call, "slots": tuple(slots)}
        return Node(name, inputs, shape_of(var), attrs, dtype=dtype_of(var))


def _holds_tensors(arg: Any) -> bool:
    """A tuple of tensors; tuples of numbers (the bounds of a strided slice) stay in the call."""
    return isinstance(arg, relax.Tuple) and any(
        not isinstance(item.ty, tvm.ir.PrimType) for item in arg.fields
    )
