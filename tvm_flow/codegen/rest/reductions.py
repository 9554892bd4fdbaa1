"""Reductions, and what is computed from them, row by row: each row is read while it is in a cache.

Along a contiguous row one number is summed in several vectors; where instead neighbouring rows lie
side by side (a softmax over channels, a mean over the pixels of an NHWC image), a vector holds the
sums of as many rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.affine import Axis
from tvm_flow.codegen.rest.elementwise import PARALLEL_FROM, Machine, along, loops
from tvm_flow.codegen.rest.lanes import Lanes
from tvm_flow.codegen.rest.program import Program
from tvm_flow.codegen.rest.rows import Row, Rows
from tvm_flow.codegen.rest.stages import NotUnderstood
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    load,
    pieces,
    registers,
    splat,
    store,
    take,
)

#: Vectors of sums along a contiguous row, and beside each other where rows are side by side.
SUMS, COLUMNS = 4, 4
#: Rounds after which sums are added to others, so that what rounding loses grows with a root.
ROUNDS = 32


def emit_rows(
    program: Program, rows: Rows, buffers: Mapping[Any, tirx.Buffer], machine: Machine,
    in_place: bool,
) -> None:  # fmt: skip
    """All stages for all rows. ``in_place``: the last one overwrites what it reads.

    Raises :class:`NotUnderstood`.
    """
    if any(row.reads.scalar for row in rows.stages):
        machine = Machine(1, machine.threads)
    work = math.prod(a.extent for a in rows.kept) * max(
        math.prod(a.extent for a in row.axes) for row in rows.stages
    )
    threads = machine.threads if work >= PARALLEL_FROM else 1
    column = _column(rows, machine.lanes)
    if column is None:
        with loops(rows.kept, threads) as places:
            _Emitter(program, buffers, places, machine.lanes, None, in_place).emit(rows.stages)
        return
    if any(row.target.factor(column) != 1 for row in rows.stages):
        raise NotUnderstood("rows side by side, stored otherwise")
    outer = [axis for axis in rows.kept if axis != column]
    width = machine.lanes
    while 2 * width <= min(column.extent, COLUMNS * machine.lanes):
        width *= 2
    shared = threads if math.prod(axis.extent for axis in outer) > 1 else 1
    with loops(outer, shared) as around:

        def columns(base: Expr, lanes: int) -> None:
            places = {**around, column: base}
            _Emitter(program, buffers, places, lanes, column, in_place).emit(rows.stages)

        along(column.extent, width, columns, threads=threads if shared == 1 else 1)


def _column(rows: Rows, lanes: int) -> Axis | None:
    """The axis along which rows lie side by side, unless they are contiguous themselves."""
    first = next(row for row in rows.stages if row.stage.combine)
    places = [at for _, at in first.reads.accesses if any(at.factor(a) for a in first.axes)]
    if any(at.factor(axis) == 1 for at in places for axis in first.axes):
        return None
    for axis in rows.kept:
        if axis.extent > 1 and any(at.factor(axis) == 1 for at in places):
            return axis
    return None


class _Emitter:
    """Emits the stages of one row, or of ``width`` rows along ``column``."""

    def __init__(
        self, program: Program, buffers: Mapping[Any, tirx.Buffer], places: Mapping[Axis, Expr],
        width: int, column: Axis | None, in_place: bool,
    ) -> None:  # fmt: skip
        self.program, self.buffers, self.places = program, buffers, places
        self.width, self.column, self.in_place = width, column, in_place
        self.known: dict[Any, Expr] = {}

    def emit(self, stages: Sequence[Row]) -> None:
        """In order; each reduction is known to those behind it."""
        for number, row in enumerate(stages):
            if row.stage.combine:
                self.known[row.stage.buffer] = result = self._reduce(row)
                if row.stage.buffer in self.buffers:
                    self._store(row, {}, self.width if self.column else 1, result)
            else:
                last = number == len(stages) - 1
                self._each(row, self.in_place and last)

    def _lanes(self, places: Mapping[Axis, Expr], axis: Axis | None, width: int) -> Lanes:
        everywhere = {**self.places, **places}
        return Lanes(self.program, self.buffers, everywhere, axis, width, self.known)

    def _each(self, row: Row, in_place: bool) -> None:
        """A stage with a value for every element of a row."""
        if self.column or not row.axes:
            with loops(row.axes, 1) as places:
                self._store(row, places, self.width if self.column else 1)
            return
        *outer, inner = row.axes
        if row.target.factor(inner) != 1:
            raise NotUnderstood("a row that is not stored as one")
        with loops(outer, 1) as places:
            along(
                inner.extent, self.width,
                lambda base, width: self._store(row, {**places, inner: base}, width),
                again=not in_place,
            )  # fmt: skip

    def _store(self, row: Row, places: Mapping[Axis, Expr], width: int, value: Expr = None) -> None:
        axis = self.column or (row.axes[-1] if row.axes else None)
        lanes = self._lanes(places, axis, width)
        if value is None:
            value = lanes.value(row.stage.value, row.variables)
        at = lanes.place(row.target.without(axis)) if axis else lanes.place(row.target)
        first = at + lanes.places[axis] if axis in lanes.places else at
        store(self.buffers[row.stage.buffer], lanes.wide(value), first, width)

    def _reduce(self, row: Row) -> Expr:
        """The result for this row: a number, or a vector of one for every row."""
        dtype = str(row.stage.buffer.dtype)
        if self.column:
            widths, axis = [self.width], None
        else:
            axis = row.axes[-1] if row.axes else None
            widths = _widths(axis.extent if axis else 1, self.width)
        sums = _Sums(row.stage, widths, dtype)

        def add(number: int, places: Mapping[Axis, Expr]) -> None:
            lanes = self._lanes(places, self.column or axis, widths[number])
            sums.add(number, lanes.wide(lanes.value(row.stage.value, row.variables)))

        if self.column:
            self._over(row.axes, sums, lambda places: add(0, places))
        elif axis is None:
            add(0, {})
        else:
            self._along(row.axes, sums, add)
        return sums.total(keep_lanes=self.column is not None)

    def _over(
        self, axes: Sequence[Axis], sums: _Sums, body: Callable[[Mapping[Axis, Expr]], None]
    ) -> None:
        """``body`` for all values of ``axes``."""
        if not axes:
            body({})
            return

        def inner(first: Expr) -> None:
            with loops(axes[1:], 1) as places:
                body({axes[0]: first, **places})

        sums.chunked(axes[0].extent, inner)

    def _along(
        self, axes: Sequence[Axis], sums: _Sums,
        add: Callable[[int, Mapping[Axis, Expr]], None],
    ) -> None:  # fmt: skip
        """In vectors along the last axis."""
        *outer, inner = axes
        lanes, whole = self.width, inner.extent // self.width
        rounds = whole // SUMS if whole >= SUMS else 0

        def one_round(places: Mapping[Axis, Expr], number: Expr) -> None:
            for part in range(SUMS):
                add(part, {**places, inner: number * (SUMS * lanes) + part * lanes})

        def rest(places: Mapping[Axis, Expr]) -> None:
            for number in range(rounds * SUMS, whole):
                at = tirx.IntImm("int32", number * lanes)
                add(number - rounds * SUMS, {**places, inner: at})
            tail = pieces(inner.extent - whole * lanes, lanes)
            for number, (offset, _) in enumerate(tail):
                at = tirx.IntImm("int32", whole * lanes + offset)
                add(len(sums.widths) - len(tail) + number, {**places, inner: at})

        def row(places: Mapping[Axis, Expr]) -> None:
            if rounds:
                with T.serial(0, rounds) as number:
                    one_round(places, number)
            rest(places)

        if outer:
            self._over(outer, sums, row)
        else:
            if rounds:
                sums.chunked(rounds, lambda number: one_round({}, number))
            rest({})


def _widths(extent: int, lanes: int) -> list[int]:
    """Of the sums along a row: of whole vectors, then of what is left at its end."""
    whole = extent // lanes
    return [lanes] * min(whole, SUMS) + [
        width for _, width in pieces(extent - whole * lanes, lanes)
    ]


class _Sums:
    """Partial results of a reduction, one vector of each of ``widths``, in registers."""

    def __init__(self, stage: Any, widths: Sequence[int], dtype: str) -> None:
        self.kind, self.widths, self.dtype = stage.combine, list(widths), dtype
        self.start = stage.start
        self.now = self._bank()
        self.done: list[tirx.Buffer] | None = None

    def _bank(self) -> list[tirx.Buffer]:
        made = []
        for width in self.widths:
            slot = registers(width, self.dtype)
            store(slot, splat(self.start, width), 0, width)
            made.append(slot)
        return made

    def add(self, number: int, value: Expr) -> None:
        """One more vector for partial result ``number``."""
        width = self.widths[number]
        store(self.now[number], self.kind(load(self.now[number], 0, width), value), 0, width)

    def chunked(self, count: int, body: Callable[[Expr], None]) -> None:
        """``body(i)`` for all ``i < count``; after some rounds sums go to others and begin anew."""
        if count <= ROUNDS or self.kind is not tirx.Add:
            with T.serial(0, count) as i:
                body(i)
            return
        self.done = self._bank()
        with T.serial(0, count // ROUNDS) as chunk:
            with T.serial(0, ROUNDS) as i:
                body(chunk * ROUNDS + i)
            for done, now, width in zip(self.done, self.now, self.widths, strict=True):
                store(done, load(done, 0, width) + load(now, 0, width), 0, width)
                store(now, splat(self.start, width), 0, width)
        for i in range(count // ROUNDS * ROUNDS, count) if count % ROUNDS < 2 else ():
            body(tirx.IntImm("int32", i))
        if count % ROUNDS >= 2:
            with T.serial(0, count % ROUNDS) as i:
                body(count // ROUNDS * ROUNDS + i)

    def total(self, keep_lanes: bool) -> Expr:
        """All of it: of every lane, or of all lanes."""
        values = [load(slot, 0, w) for slot, w in zip(self.now, self.widths, strict=True)]
        if self.done is not None:
            values = [
                self._bound(self.kind(load(done, 0, w), value), w)
                for done, value, w in zip(self.done, values, self.widths, strict=True)
            ]
        while len(values) > 1 and _width(values[0]) == _width(values[1]):
            values = [*values[2:], self._bound(self.kind(*values[:2]), _width(values[0]))]
            values.sort(key=_width, reverse=True)
        if keep_lanes:
            return values[0]
        numbers = [self._across(value) for value in values]
        while len(numbers) > 1:
            numbers = [*numbers[2:], self._bound(self.kind(*numbers[:2]), 1)]
        return numbers[0]

    def _across(self, value: Expr) -> Expr:
        """All lanes of a vector."""
        width = _width(value)
        while width > 1:
            width //= 2
            both = take(value, 0, width), take(value, width, width)
            value = self._bound(self.kind(*both), width)
        return value

    def _bound(self, value: Expr, width: int) -> Expr:
        slot = registers(width, self.dtype)
        store(slot, value, 0, width)
        return load(slot, 0, width)


def _width(value: Expr) -> int:
    return int(value.ty.dtype.lanes)
