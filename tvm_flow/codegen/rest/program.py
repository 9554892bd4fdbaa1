"""A function's stages, which of them are computed where they are read, and what those read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import tvm
from tvm import tirx
from tvm.ir import Call
from tvm.ir.expr import TensorLoad

from tvm_flow.codegen.rest.affine import Affine, Computed
from tvm_flow.codegen.rest.stages import NotUnderstood, Stage
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.emit.elementary import FUNCTIONS

Expression = Any
#: What the variables of an expression stand for.
Environment: TypeAlias = Mapping[Any, Affine]

#: Functions that cores compute for vectors.
_VECTOR_CALLS = frozenset(
    {
        "tirx.fabs", "tirx.floor", "prim.ceil", "tirx.trunc", "tirx.round", "tirx.nearbyint",
        "tirx.sqrt", "tirx.isnan", "tirx.copysign",
    }
)  # fmt: skip
CHOICE = "prim.if_then_else"
LIKELY = "prim.likely"


def is_vectorised(call: Any) -> bool:
    """Whether a function is computed without a call per element."""
    name = call.op.name
    if name in FUNCTIONS or name == "tirx.pow":
        return str(call.ty.dtype) == FLOAT32.value
    return name in _VECTOR_CALLS or name in (CHOICE, LIKELY)


def index_of(expression: Expression, variables: Environment) -> Affine:
    """An integer expression as a sum of axes."""
    e = expression
    if isinstance(e, tirx.IntImm):
        return Affine((), int(e))
    if isinstance(e, tirx.Var) and e in variables:
        return variables[e]
    if isinstance(e, tirx.Cast) and _is_integer(e) and _is_integer(e.value):
        return index_of(e.value, variables)
    made = _arithmetic(e, variables) if isinstance(e, _ARITHMETIC) else None
    if made is None:
        made = Affine(((Computed(e, tuple(_used(e, variables).items())), 1),))
    return made


_ARITHMETIC = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Div, tirx.Mod
)  # fmt: skip


def _arithmetic(e: Any, variables: Environment) -> Affine | None:
    a, b = index_of(e.a, variables), index_of(e.b, variables)
    if isinstance(e, tirx.Add | tirx.Sub):
        return a + b if isinstance(e, tirx.Add) else a - b
    if isinstance(e, tirx.Mul):
        if not a.terms:
            return b * a.constant
        return a * b.constant if not b.terms else None
    return _quotient(e, a, b)


def _quotient(e: Any, a: Affine, b: Affine) -> Affine | None:
    if b.terms or b.constant <= 0:
        return None
    if isinstance(e, tirx.Div | tirx.Mod) and not a.within(0, 1 << 40):
        return None  # these round towards zero
    if any(isinstance(atom, Computed) for atom, _ in a.terms):
        return None
    return a // b.constant if isinstance(e, tirx.FloorDiv | tirx.Div) else a % b.constant


def _is_integer(e: Expression) -> bool:
    return str(e.ty.dtype).startswith(("int", "uint"))


def _used(expression: Expression, variables: Environment) -> dict[Any, Affine]:
    """The part of ``variables`` that an expression names."""
    found: dict[Any, Affine] = {}
    for e in walk(expression):
        if isinstance(e, tirx.Var) and e in variables:
            found[e] = variables[e]
    return found


def walk(expression: Expression) -> list[Expression]:
    """All parts of an expression, itself among them."""
    found, open_ = [], [expression]
    while open_:
        e = open_.pop()
        found.append(e)
        open_ += children(e)
    return found


def children(e: Expression) -> Sequence[Expression]:
    """What an expression is made of. Raises :class:`NotUnderstood`."""
    if isinstance(e, tirx.IntImm | tirx.FloatImm | tirx.Var):
        return ()
    if isinstance(e, TensorLoad):
        return tuple(e.indices)
    if isinstance(e, Call) and isinstance(e.op, tvm.ir.Op):
        return tuple(e.args)
    for kind, names in _PARTS.items():
        if isinstance(e, kind):
            return [getattr(e, name) for name in names]
    raise NotUnderstood(f"an expression of type {type(e).__name__}")


COMPARISONS = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
BINARY = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod, tirx.Min,
    tirx.Max, tirx.And, tirx.Or, tirx.BitwiseAnd, tirx.BitwiseOr, tirx.BitwiseXor, tirx.LShift,
    tirx.RShift, *COMPARISONS,
)  # fmt: skip


_PARTS: Mapping[Any, tuple[str, ...]] = {
    BINARY: ("a", "b"),
    tirx.Cast: ("value",),
    tirx.Select: ("condition", "true_value", "false_value"),
    (tirx.Not, tirx.BitwiseNot): ("a",),
}


@dataclass
class Reads:
    """What computing an expression touches: ``(buffer, where)``; conditions that are not known
    before; whether a function is called for every element; how much there is to compute."""

    accesses: dict[tuple[Any, Affine], None] = field(default_factory=dict)
    conditions: list[tuple[Expression, Environment]] = field(default_factory=list)
    scalar: list[str] = field(default_factory=list)
    work: int = 0


class Program:
    """``stages`` of a function; those of ``inlined`` are computed by whoever reads them."""

    def __init__(self, stages: Sequence[Stage], parameters: Sequence[Any]) -> None:
        self.stages = list(stages)
        self.parameters = list(parameters)
        self.producer = {stage.buffer: stage for stage in stages}
        if len(self.producer) != len(stages):
            raise NotUnderstood("a buffer that is written twice")
        self.stored: set[Any] = {s.buffer for s in stages if s.combine is not None} | {
            s.buffer for s in stages if s.buffer in parameters
        }

    @property
    def in_memory(self) -> list[Stage]:
        """The stages that are not computed in place."""
        return [stage for stage in self.stages if stage.buffer in self.stored]

    @cached_property
    def sizes(self) -> dict[Any, tuple[int, ...]]:
        """Shapes by buffer."""
        buffers = [*self.parameters, *self.producer]
        return {b: tuple(int(extent) for extent in b.shape) for b in buffers}

    def calls(self, stage: Stage) -> bool:
        """Whether a stage computes a function for every element."""
        return any(isinstance(e, Call) and e.op.name in FUNCTIONS for e in walk(stage.value))

    def offset(self, buffer: Any, indices: Sequence[Expression], variables: Environment) -> Affine:
        """Where an element lies in its buffer."""
        total = Affine()
        for extent, index in zip(self.sizes[buffer], indices, strict=True):
            at = index_of(index, variables) if extent > 1 else Affine()
            total = total * extent + at
        return total

    def inlined(self, buffer: Any) -> Stage | None:
        """The stage that is computed where ``buffer`` is read; ``None`` of one in memory."""
        return None if buffer in self.stored else self.producer.get(buffer)

    def environment(
        self, stage: Stage, indices: Sequence[Expression], variables: Environment
    ) -> dict[Any, Affine]:
        """What a stage's own variables are where it is read at ``indices``."""
        made: dict[Any, Affine] = {}
        for mine, theirs in zip(stage.indices, indices, strict=True):
            if isinstance(mine, tirx.Var):
                made[mine] = index_of(theirs, variables)
            elif not isinstance(mine, tirx.IntImm):
                raise NotUnderstood("a stage that is written at computed places")
        for var, extent in zip(stage.variables, stage.extents, strict=True):
            if extent == 1:
                made[var] = Affine()
        if len(made) < len(stage.variables):
            raise NotUnderstood("a stage that does not fill its buffer")
        return made

    def reads(self, expression: Expression, variables: Environment) -> Reads:
        """See :class:`Reads`; through all stages that are computed in place."""
        found = Reads()
        seen: set[tuple[Any, tuple[Affine, ...]]] = set()

        def visit(e: Expression, variables: Environment) -> None:
            if isinstance(e, TensorLoad):
                load(e, variables)
                return
            if isinstance(e, Call):
                if not is_vectorised(e):
                    found.scalar.append(e.op.name)
                if e.op.name == CHOICE:
                    known = decide(e.args[0], variables)
                    if known is not None:
                        visit(e.args[1 if known else 2], variables)
                        return
                    found.conditions.append((e.args[0], variables))
                found.work += 8
            elif isinstance(e, tirx.Mod) and not _is_integer(e):
                found.scalar.append("fmod")
            found.work += 1
            for child in children(e):
                visit(child, variables)

        def load(e: Any, variables: Environment) -> None:
            stage = self.inlined(e.source)
            if stage is None:
                at = self.offset(e.source, e.indices, variables)
                found.accesses[e.source, at] = None
                for atom, _ in at.terms:
                    if isinstance(atom, Computed):
                        visit(atom.expression, dict(atom.variables))
                return
            inner = self.environment(stage, e.indices, variables)
            key = (e.source, tuple(inner.values()))
            if key not in seen:
                seen.add(key)
                visit(stage.value, inner)

        visit(expression, variables)
        return found


def decide(condition: Expression, variables: Environment) -> bool | None:
    """Whether a condition holds for all values of its axes (or for none); ``None`` if neither."""
    if isinstance(condition, tirx.IntImm):
        return bool(int(condition))
    if isinstance(condition, tirx.And | tirx.Or):
        both = (decide(condition.a, variables), decide(condition.b, variables))
        ends = isinstance(condition, tirx.Or)
        return ends if ends in both else None if None in both else not ends
    if isinstance(condition, tirx.Not):
        inner = decide(condition.a, variables)
        return None if inner is None else not inner
    if isinstance(condition, Call) and condition.op.name == LIKELY:
        return decide(condition.args[0], variables)
    difference = difference_of(condition, variables)
    span = None if difference is None else difference.bounds()
    return None if span is None else _holds(condition, *span)


def _holds(condition: Expression, low: int, high: int) -> bool | None:
    """Whether it does for all differences from ``low`` to ``high``."""
    if not isinstance(condition, tirx.EQ | tirx.NE):
        return True if high < 0 else False if low >= 0 else None
    if low > 0 or high < 0:
        return isinstance(condition, tirx.NE)
    return isinstance(condition, tirx.EQ) if low == high == 0 else None


def difference_of(condition: Expression, variables: Environment) -> Affine | None:
    """An expression that is negative where an inequality of integers holds (for an equation: zero
    there); ``None`` of other conditions."""
    if not isinstance(condition, COMPARISONS) or not _is_integer(condition.a):
        return None
    a, b = index_of(condition.a, variables), index_of(condition.b, variables)
    if any(isinstance(atom, Computed) for side in (a, b) for atom, _ in side.terms):
        return None
    if isinstance(condition, tirx.GT | tirx.GE):
        a, b = b, a
    strict = isinstance(condition, tirx.LT | tirx.GT | tirx.EQ | tirx.NE)
    return a - b if strict else a - b + -1
