"""Scalar expressions of stages -> vector TIR, for consecutive values of one axis at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.affine import Affine, Axis, Computed, Remainder
from tvm_flow.codegen.rest.program import (
    CHOICE,
    LIKELY,
    Environment,
    Program,
    children,
    decide,
    is_vectorised,
)
from tvm_flow.codegen.rest.stages import NotUnderstood
from tvm_flow.schedules.contract.dtypes import INT32
from tvm_flow.schedules.cpu.emit.elementary import FUNCTIONS, power
from tvm_flow.schedules.cpu.emit.vector import bind, lanes_at, load, registers, splat, store

Expression = Any


class Lanes:
    """Emits values for ``width`` values of ``axis`` from its place on.

    ``buffers``: flat ones of those in memory; ``places``: what the axes of the loops around are;
    ``known``: buffers with one element at this point, and it. Values are scalars where they do
    not depend on ``axis``. Nothing is computed twice.
    """

    def __init__(
        self, program: Program, buffers: Mapping[Any, tirx.Buffer], places: Mapping[Axis, Any],
        axis: Axis | None, width: int, known: Mapping[Any, Expression] | None = None,
    ) -> None:  # fmt: skip
        self.program, self.buffers, self.places = program, buffers, dict(places)
        self.axis, self.width, self.known = axis, width, dict(known or {})
        self.made: dict[Any, Expression] = {}

    def wide(self, value: Expression) -> Expression:
        """A value for every lane."""
        return value if _lanes(value) == self.width else splat(value, self.width)

    def value(self, e: Expression, variables: Environment) -> Expression:
        """The value of an expression whose variables are given."""
        if isinstance(e, tirx.IntImm | tirx.FloatImm):
            return e
        if isinstance(e, tirx.Var):
            return tirx.Cast(_vector(e, _lanes(at := self.place(variables[e]))), at)
        if isinstance(e, TensorLoad):
            return self._load(e, variables)
        if isinstance(e, Call):
            return self._call(e, variables)
        return self._compound(e, self._alike([self.value(c, variables) for c in children(e)]))

    def _compound(self, e: Expression, parts: Sequence[Expression]) -> Expression:
        """The same operation as ``e`` of vectors."""
        if isinstance(e, tirx.Cast):
            return tirx.Cast(_vector(e, _lanes(parts[0])), parts[0])
        return type(e)(*parts)

    def _alike(self, values: Sequence[Expression]) -> list[Expression]:
        """All scalars, or all vectors."""
        if all(_lanes(value) == 1 for value in values):
            return list(values)
        return [self.wide(value) for value in values]

    def place(self, at: Affine) -> Expression:
        """An index: a scalar, or a vector where it depends on the lane."""
        total: Expression = tirx.IntImm("int32", at.constant)
        vector: Expression = None
        for atom, factor in at.terms:
            value = self._atom(atom) * self._same(factor, self._atom(atom))
            if _lanes(value) == 1:
                total = total + value
            else:
                vector = value if vector is None else vector + value
        return total if vector is None else vector + splat(total, self.width)

    def _same(self, factor: int, beside: Expression) -> Expression:
        return splat(tirx.IntImm("int32", factor), _lanes(beside))

    def _atom(self, atom: Any) -> Expression:
        if isinstance(atom, Axis):
            return self._axis(atom)
        if isinstance(atom, Computed):
            key = (atom, "computed")
            if key not in self.made:
                value = self.value(atom.expression, dict(atom.variables))
                index = tirx.Cast(INT32.vector(_lanes(value)), value)
                self.made[key] = bind(index, _lanes(index))()
            return self.made[key]
        inner = self.place(atom.of)
        operation = tirx.FloorMod if isinstance(atom, Remainder) else tirx.FloorDiv
        return operation(inner, self._same(atom.by, inner))

    def _axis(self, axis: Axis) -> Expression:
        base = self.places[axis]
        return lanes_at(base, self.width) if axis == self.axis else base

    def _load(self, e: Any, variables: Environment) -> Expression:
        buffer = e.source
        if buffer in self.known:
            return self.known[buffer]
        stage = self.program.inlined(buffer)
        if stage is not None:
            inner = self.program.environment(stage, e.indices, variables)
            key = (buffer, tuple(inner.values()))
            if key not in self.made:
                self.made[key] = _bound(self.value(stage.value, inner))
            return self.made[key]
        at = self.program.offset(buffer, e.indices, variables)
        if (buffer, at) not in self.made:
            self.made[buffer, at] = _bound(self.element(self.buffers[buffer], at))
        return self.made[buffer, at]

    def element(self, buffer: tirx.Buffer, at: Affine) -> Expression:
        """What lies at an index, or at the index of every lane."""
        if self.axis is None or self.width == 1 or self.axis not in set(at.axes()):
            return buffer[self.place(at)]
        rest, factor = at.without(self.axis), at.factor(self.axis)
        if factor and self.axis not in set(rest.axes()):
            first = self.place(rest) + self.places[self.axis] * factor
            if factor == 1:
                return load(buffer, first, self.width)
            return buffer[tirx.Ramp(first, factor, self.width)]
        return buffer[self.place(at)]

    def _call(self, e: Any, variables: Environment) -> Expression:
        name = e.op.name
        if name == CHOICE:
            return self._choice(e, variables)
        if name == LIKELY:
            return self.value(e.args[0], variables)
        arguments = self._alike([self.value(part, variables) for part in e.args])
        width = max((_lanes(value) for value in arguments), default=1)
        if is_vectorised(e) and name in FUNCTIONS:
            return bind(FUNCTIONS[name](bind(arguments[0], width), width), width)()
        if is_vectorised(e) and name == "tirx.pow":
            return bind(power(arguments[0], arguments[1], width), width)()
        if width > 1 and not is_vectorised(e):
            raise NotUnderstood(f"{name} for vectors")
        return tirx.call_intrin(_vector(e, width), e.op, *arguments)

    def _choice(self, e: Any, variables: Environment) -> Expression:
        """Only the side that is taken is computed: the other may lie outside of its buffer."""
        condition, *sides = e.args
        known = decide(condition, variables)
        if known is not None:
            return self.value(sides[0 if known else 1], variables)
        held = self.value(condition, variables)
        if _lanes(held) > 1:
            raise NotUnderstood("a choice per lane")
        slot = registers(self.width, _element(e))
        with T.If(held):
            with T.Then():
                self._branch(slot, sides[0], variables)
            with T.Else():
                self._branch(slot, sides[1], variables)
        return load(slot, 0, self.width)

    def _branch(self, slot: tirx.Buffer, side: Expression, variables: Environment) -> None:
        """What is computed in a branch is known in it only."""
        before = dict(self.made)
        store(slot, self.wide(self.value(side, variables)), 0, self.width)
        self.made = before


def _is_constant(value: Expression) -> bool:
    inner = value.value if isinstance(value, tirx.Broadcast) else value
    return isinstance(inner, tirx.FloatImm | tirx.IntImm)


def _lanes(value: Expression) -> int:
    return int(value.ty.dtype.lanes)


def _element(value: Expression) -> str:
    return str(value.ty.dtype).partition("x")[0]


def _vector(value: Expression, width: int) -> str:
    """The type of ``width`` values of the type of a scalar."""
    return _element(value) if width == 1 else f"{_element(value)}x{width}"


def _bound(value: Expression) -> Expression:
    """Computed once, wherever it is read; conditions are left to LLVM."""
    if _element(value) == "bool" or _is_constant(value):
        return value
    width = _lanes(value)
    slot = registers(width, _element(value))
    store(slot, value, 0, width)
    return load(slot, 0, width)
