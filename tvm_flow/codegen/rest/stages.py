"""What a legalised TIR function computes: its blocks, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tvm import s_tir, tirx
from tvm.ir.expr import TensorLoad

Expression = Any


class NotUnderstood(Exception):
    """The function is not of the shape that is read here; it keeps its plain loops."""


@dataclass(frozen=True)
class Stage:
    """``buffer[indices] = value`` for all values of ``variables``, which have ``extents``.

    Of a reduction ``reduced`` are those that are summed over (or whatever ``combine`` does), from
    ``start`` on; ``value`` is what is added. Otherwise ``combine`` is ``None``.
    """

    buffer: tirx.Buffer
    indices: tuple[Expression, ...]
    value: Expression
    variables: tuple[Any, ...]
    extents: tuple[int, ...]
    reduced: tuple[Any, ...] = ()
    combine: type | None = None
    start: Expression = None

    @property
    def kept(self) -> tuple[Any, ...]:
        return tuple(var for var in self.variables if var not in self.reduced)


def stages_of(func: tirx.PrimFunc) -> list[Stage]:
    """In the order of the function. Raises :class:`NotUnderstood`."""
    body = func.body
    if not isinstance(body, s_tir.SBlockRealize):
        raise NotUnderstood("no block at the root")
    return [_stage(nest) for nest in _statements(body.block.body)]


def _statements(body: Any) -> Iterator[Any]:
    if isinstance(body, tirx.SeqStmt):
        for part in body.seq:
            yield from _statements(part)
    else:
        yield body


def _stage(nest: Any) -> Stage:
    loops: dict[Any, int] = {}
    while isinstance(nest, tirx.For):
        if not isinstance(nest.extent, tirx.IntImm) or int(nest.min) != 0:
            raise NotUnderstood("a loop of unknown length")
        loops[nest.loop_var] = int(nest.extent)
        nest = nest.body
    if not isinstance(nest, s_tir.SBlockRealize):
        raise NotUnderstood("a statement that is no block")
    block, values = nest.block, list(nest.iter_values)
    if not isinstance(block.body, tirx.BufferStore) or block.alloc_buffers:
        raise NotUnderstood("a block of several statements")
    variables, extents, reduced = [], [], []
    for axis, value in zip(block.iter_vars, values, strict=True):
        # a block without loops has constants in the place of loop variables
        extent = loops.pop(value, None) if isinstance(value, tirx.Var) else None
        if extent is None and not (isinstance(value, tirx.IntImm) and int(value) == 0):
            raise NotUnderstood("a block whose axes are no loops")
        variables.append(axis.var)
        extents.append(extent or 1)
        if int(axis.iter_type) == 2:
            reduced.append(axis.var)
    store = block.body
    value, combine, start = store.value, None, None
    if block.init is not None:
        combine, value = _combination(store)
        start = block.init.value
    elif reduced:
        raise NotUnderstood("a reduction without a start")
    return Stage(
        store.buffer, tuple(store.indices), value, tuple(variables), tuple(extents),
        tuple(reduced), combine, start,
    )  # fmt: skip


def _combination(store: tirx.BufferStore) -> tuple[type, Expression]:
    """How a reduction combines, and with what."""
    update = store.value
    if not isinstance(update, tirx.Add | tirx.Max | tirx.Min | tirx.Mul):
        raise NotUnderstood("an unknown reduction")
    for total, other in ((update.a, update.b), (update.b, update.a)):
        if isinstance(total, TensorLoad) and total.source.same_as(store.buffer):
            return type(update), other
    raise NotUnderstood("a reduction that does not combine")
