"""Nodes that keep their Relax call, computed by the code that TVM makes of the call.

That is what a bundle computes as well, whatever the target: NumPy's or PyTorch's idea of the
operator would hide what TVM makes of an index or a bound. Indices are looked at before the code is
run, which reads and writes wherever they point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import tvm
from torch import Tensor
from tvm import relax

from tvm_flow.codegen.legalise import legalise
from tvm_flow.codegen.library import last_line
from tvm_flow.ir.graph import Node
from tvm_flow.schedules.cpu.lowering import PIPELINE, pass_context
from tvm_flow.support.errors import ImportUnsupportedError


class WrongIndexError(Exception):
    """An index outside of what it points into."""


class RelaxNodes:
    """Code for those of ``nodes`` that keep their Relax call, made at once."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._symbols: dict[int, str] = {}
        self._machine: relax.VirtualMachine | None = None
        found = [node for node in nodes if "call" in node.attrs]
        if found:
            self._compile(found)

    def _compile(self, nodes: list[Node]) -> None:
        builder = relax.BlockBuilder()
        known: dict[tuple[object, ...], str] = {}
        for node in nodes:
            key = (node.op, str(node.attrs["call"].attrs), _signature(node))
            if key not in known:
                known[key] = f"f{len(known)}"
                _function(builder, known[key], node)
            self._symbols[id(node.attrs["call"])] = known[key]
        try:
            self._machine = _machine(builder)
        except Exception as error:  # TVM raises many types
            raise _first_without_code(nodes, error) from error

    def run(self, node: Node, args: Sequence[Tensor]) -> Tensor:
        """The node's value. Raises :class:`WrongIndexError`."""
        assert self._machine is not None
        check_indices(node, args)
        given = [
            tvm.runtime.tensor(arg.to(getattr(torch, source.dtype)).contiguous().numpy())
            for arg, source in zip(args, node.inputs, strict=True)
        ]
        return torch.from_numpy(
            self._machine[self._symbols[id(node.attrs["call"])]](*given).numpy()
        )


def _machine(builder: relax.BlockBuilder) -> relax.VirtualMachine:
    plain = legalise(unscheduled=True)(builder.get())
    with pass_context():
        built = tvm.compile(plain, target="llvm", tir_pipeline=PIPELINE)
    return relax.VirtualMachine(built, tvm.cpu())


def _first_without_code(nodes: list[Node], error: Exception) -> ImportUnsupportedError:
    """The error for the first of ``nodes`` that cannot be compiled alone."""
    for node in nodes:
        builder = relax.BlockBuilder()
        try:
            _function(builder, "f", node)
            _machine(builder)
        except Exception as alone:
            kinds = ", ".join(f"{s.dtype} {'x'.join(map(str, s.shape))}" for s in node.inputs)
            return ImportUnsupportedError(
                f"TVM cannot compile {node.op} of {kinds}",
                why=f"{type(alone).__name__}: {last_line(alone)}",
                fix="write that part of the model in another way",
            )
    return ImportUnsupportedError("TVM cannot compile the network", why=last_line(error))


def _signature(node: Node) -> tuple[object, ...]:
    """Everything of a call but its attributes: shapes and types of its tensors, its numbers."""
    slots = node.attrs["slots"]
    rest = tuple(str(arg) for i, arg in enumerate(node.attrs["call"].args) if i not in slots)
    return (slots, rest, *((source.shape, source.dtype) for source in node.inputs))


def _function(builder: relax.BlockBuilder, symbol: str, node: Node) -> None:
    call = node.attrs["call"]
    params = [
        relax.Var(f"x{i}", relax.TensorType(source.shape, source.dtype))
        for i, source in enumerate(node.inputs)
    ]
    fields = list(call.args)
    for slot, param in zip(node.attrs["slots"], params, strict=True):
        fields[slot] = param
    with builder.function(symbol, params):
        result = builder.emit(relax.Call(call.op, fields, call.attrs, call.ty_args))
        builder.emit_func_output(result)


def check_indices(node: Node, args: Sequence[Tensor]) -> None:
    """Raises :class:`WrongIndexError` for an index outside of what the node indexes."""
    sizes = _INDEXED.get(node.op)
    if sizes is None:
        return
    indices = args[1]
    for column, size in sizes(node, indices):
        wrong = column[(column < 0) | (column >= size)]
        if wrong.numel():
            raise WrongIndexError(f"index {int(wrong.reshape(-1)[0])} into {size} elements")


Columns = list[tuple[Tensor, int]]


def _along(node: Node, indices: Tensor) -> Columns:
    """Indices along one axis."""
    call, shape = node.attrs["call"], node.inputs[0].shape
    axis = call.attrs.axis
    if getattr(call.attrs, "mode", "fast") in ("wrap", "clip"):
        return []
    size = int(torch.Size(shape).numel()) if axis is None else shape[int(axis) % len(shape)]
    return [(indices, size)]


def _tuples(node: Node, indices: Tensor) -> Columns:
    """A row of indices per element, into the first axes."""
    shape = node.inputs[0].shape
    return [(indices[..., i], shape[i]) for i in range(indices.shape[-1])]


_INDEXED: dict[str, Callable[[Node, Tensor], Columns]] = {
    "relax.take": _along,
    "relax.gather_elements": _along,
    "relax.scatter_elements": _along,
    "relax.gather_nd": _tuples,
    "relax.scatter_nd": _tuples,
}
