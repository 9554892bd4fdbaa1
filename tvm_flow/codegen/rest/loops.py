"""The loops of a stage: cut where a condition changes, joined where memory is contiguous."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise, product
from typing import Any

from tvm import tirx
from tvm.ir import Call

from tvm_flow.codegen.rest.affine import Affine, Axis, of_axis
from tvm_flow.codegen.rest.program import (
    LIKELY,
    Environment,
    Program,
    difference_of,
)
from tvm_flow.codegen.rest.stages import Stage

#: More parts than this are more code than they are worth.
MOST_PARTS = 64

_numbers = count()


def new_axis(extent: int) -> Axis:
    """An axis unlike all others."""
    return Axis(next(_numbers), extent)


@dataclass(frozen=True)
class Nest:
    """Loops over ``axes``, outermost first, and what a stage's variables are within."""

    axes: tuple[Axis, ...]
    variables: dict[Any, Affine]

    @property
    def total(self) -> int:
        return math.prod(axis.extent for axis in self.axes)


def nests(program: Program, stage: Stage) -> Iterator[Nest]:
    """The loops of a stage that stores, which together cover all of its elements."""
    whole = [(0, extent) for extent in stage.extents]
    first = _nest(stage, whole)
    parts = _parts(program, stage, first)
    for ranges in product(*parts) if parts else [whole]:
        yield _joined(program, stage, _nest(stage, ranges))


def _nest(stage: Stage, ranges: Sequence[tuple[int, int]]) -> Nest:
    axes = [new_axis(stop - start) for start, stop in ranges]
    places = [of_axis(axis) + start for axis, (start, _) in zip(axes, ranges, strict=True)]
    variables = dict(zip(stage.variables, places, strict=True))
    return Nest(tuple(axis for axis in axes if axis.extent > 1), variables)


def _parts(program: Program, stage: Stage, nest: Nest) -> list[list[tuple[int, int]]]:
    """The ranges that each variable is cut into; nothing where that were too many."""
    cuts: dict[Axis, set[int]] = {}
    for condition, variables in program.reads(stage.value, nest.variables).conditions:
        for axis, at in _changes(condition, variables):
            cuts.setdefault(axis, set()).add(at)
    ranges = []
    for var, extent in zip(stage.variables, stage.extents, strict=True):
        ends = {0, extent}
        for axis in nest.variables[var].axes():
            ends |= {cut for cut in cuts.get(axis, ()) if 0 < cut < extent}
        ranges.append(list(pairwise(sorted(ends))))
    return ranges if math.prod(map(len, ranges)) <= MOST_PARTS else []


def _changes(condition: Any, variables: Environment) -> Iterator[tuple[Axis, int]]:
    """Where along an axis a condition changes."""
    if isinstance(condition, tirx.And | tirx.Or):
        yield from _changes(condition.a, variables)
        yield from _changes(condition.b, variables)
    elif isinstance(condition, tirx.Not):
        yield from _changes(condition.a, variables)
    elif isinstance(condition, Call) and condition.op.name == LIKELY:
        yield from _changes(condition.args[0], variables)
    else:
        difference = difference_of(condition, variables)
        if difference is None or len(difference.terms) != 1:
            return
        ((atom, factor),) = difference.terms
        if not isinstance(atom, Axis):
            return
        if isinstance(condition, tirx.EQ | tirx.NE):
            if difference.constant % factor == 0:
                at = -difference.constant // factor
                yield from ((atom, at), (atom, at + 1))
        elif factor > 0:  # negative below -constant / factor, rounded up
            yield atom, -(difference.constant // factor)
        else:  # negative above constant / -factor
            yield atom, difference.constant // -factor + 1


def _joined(program: Program, stage: Stage, nest: Nest) -> Nest:
    """Neighbouring loops as one, where all that is read and written goes on in the same steps."""
    reads = program.reads(stage.value, nest.variables)
    if reads.conditions:
        return nest
    target = program.offset(stage.buffer, stage.indices, nest.variables)
    axes, replace = joined_axes(nest.axes, [target, *(at for _, at in reads.accesses)])
    return Nest(axes, {var: value.replaced(replace) for var, value in nest.variables.items()})


Replacement = Callable[[Axis], Affine]


def joined_axes(
    axes: Sequence[Axis], places: Sequence[Affine]
) -> tuple[tuple[Axis, ...], Replacement]:
    """The axes with those neighbours made one that all ``places`` go along in the same steps, and
    what each of the old ones is then."""
    left = list(axes)
    replaced: dict[Axis, Affine] = {}
    for at in reversed(range(len(axes) - 1)):
        outer, inner = left[at], left[at + 1]
        if all(_contiguous(part, outer, inner) for place in places for part in place.parts()):
            both = of_axis(new_axis(outer.extent * inner.extent))
            step = {outer: both // inner.extent, inner: both % inner.extent}

            def one_step(axis: Axis, step: Mapping[Axis, Affine] = step) -> Affine:
                return step.get(axis, of_axis(axis))

            places = [place.replaced(one_step) for place in places]
            replaced = {axis: value.replaced(one_step) for axis, value in replaced.items()} | step
            left[at : at + 2] = list(both.axes())
    return tuple(left), lambda axis: replaced.get(axis, of_axis(axis))


def _contiguous(place: Affine, outer: Axis, inner: Axis) -> bool:
    return place.factor(outer) == inner.extent * place.factor(inner)
