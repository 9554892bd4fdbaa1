"""Which loops of a function's stages run over rows, and which within one.

A *row* is what is reduced to one number (softmax, normalisation, means); there is one for every
value of the *kept* axes, which all stages of the function must have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_flow.codegen.rest.affine import Affine, Axis, of_axis
from tvm_flow.codegen.rest.loops import joined_axes, new_axis
from tvm_flow.codegen.rest.program import Program, Reads, walk
from tvm_flow.codegen.rest.stages import NotUnderstood, Stage


@dataclass(frozen=True)
class Row:
    """A stage, its loops within a row, what its variables are there, what it reads, and where it
    is stored. ``in_place``: over what it reads."""

    stage: Stage
    axes: tuple[Axis, ...]
    variables: dict[Any, Affine]
    reads: Reads
    target: Affine


@dataclass(frozen=True)
class Rows:
    """Stages in their order, all for one value of the ``kept`` axes."""

    kept: tuple[Axis, ...]
    stages: tuple[Row, ...]


def rows_of(program: Program, stages: Sequence[Stage]) -> Rows:
    """Of stages with a reduction among them. Raises :class:`NotUnderstood` where they have no rows
    in common."""
    reader = _Reader(program, next(stage for stage in stages if stage.combine))
    rows = [reader.row(stage) for stage in stages]
    places = [at for row in rows for at in (row.target, *(at for _, at in row.reads.accesses))]
    kept, replace = joined_axes(reader.kept, places)
    made = []
    for row in rows:
        variables = {var: value.replaced(replace) for var, value in row.variables.items()}
        first = reader.seen(row.stage, row.axes, variables)
        inner = (first.target, *(at for _, at in first.reads.accesses))
        axes, within = joined_axes(row.axes, inner)
        variables = {var: value.replaced(within) for var, value in variables.items()}
        made.append(reader.seen(row.stage, axes, variables))
    return Rows(kept, tuple(made))


def keep_costly(program: Program) -> dict[Any, Any]:
    """Intermediate buffers that are read more than once and cost function calls -> the output
    whose memory they can have until it is written; they are stored from now on."""
    outputs = [s for s in program.stages if s.buffer in program.parameters]
    if len(outputs) != 1 or outputs[0].combine:
        return {}
    output = outputs[0]
    for stage in program.stages:
        readers = [s for s in program.stages if _reads_directly(s, stage.buffer)]
        alike = program.sizes[stage.buffer] == program.sizes[output.buffer]
        same = alike and stage.buffer.dtype == output.buffer.dtype
        costly = program.calls(stage) and stage.buffer not in program.stored
        if same and costly and len(readers) > 1 and output in readers:
            program.stored.add(stage.buffer)
            return {stage.buffer: output.buffer}
    return {}


def _reads_directly(stage: Stage, buffer: Any) -> bool:
    return any(getattr(e, "source", None) is not None and e.source.same_as(buffer)
               for e in walk(stage.value))  # fmt: skip


class _Reader:
    """Finds rows by the first reduction's kept axes, which are told by their strides in results."""

    def __init__(self, program: Program, first: Stage) -> None:
        self.program = program
        extents = dict(zip(first.variables, first.extents, strict=True))
        axes = {var: new_axis(extents[var]) for var in first.kept}
        self.kept = tuple(axis for axis in axes.values() if axis.extent > 1)
        self.results = {first.buffer}
        places = {var: of_axis(axis) for var, axis in axes.items()}
        where = program.offset(first.buffer, first.indices, places)
        self.by_stride = {factor: atom for atom, factor in where.terms}
        if set(self.by_stride.values()) != set(self.kept):
            raise NotUnderstood("a result that is not stored by its axes")

    def row(self, stage: Stage) -> Row:
        free = {
            var: new_axis(extent)
            for var, extent in zip(stage.variables, stage.extents, strict=True)
        }
        variables = {var: of_axis(axis) for var, axis in free.items()}
        reads = self.program.reads(stage.value, variables)
        known = [at for buffer, at in reads.accesses if buffer in self.results]
        if stage.combine:
            known.append(self.program.offset(stage.buffer, stage.indices, variables))
            self.results.add(stage.buffer)
        found: dict[Axis, Axis] = {}
        for at in known:
            self._match(at, found)
        if set(found.values()) != set(self.kept) or len(found) != len(self.kept):
            raise NotUnderstood("a stage with other rows")
        for var, axis in free.items():
            variables[var] = of_axis(found.get(axis, axis))
        inner = tuple(axis for axis in free.values() if axis not in found and axis.extent > 1)
        if stage.combine and len(inner) != sum(
            extent > 1 for var, extent in zip(stage.variables, stage.extents, strict=True)
            if var in stage.reduced
        ):  # fmt: skip
            raise NotUnderstood("a reduction over some of a row")
        return self.seen(stage, inner, variables)

    def _match(self, at: Affine, found: dict[Axis, Axis]) -> None:
        for atom, factor in at.terms:
            axis = self.by_stride.get(factor)
            if not (isinstance(atom, Axis) and isinstance(axis, Axis)):
                raise NotUnderstood("a result that is read elsewhere")
            if axis.extent != atom.extent:
                raise NotUnderstood("a result that is read elsewhere")
            if found.setdefault(atom, axis) != axis:
                raise NotUnderstood("a result that is read in two ways")
        if at.constant:
            raise NotUnderstood("a result that is read elsewhere")

    def seen(self, stage: Stage, axes: Sequence[Axis], variables: dict[Any, Affine]) -> Row:
        """The row with what it reads and where it goes."""
        reads = self.program.reads(stage.value, variables)
        if reads.conditions:
            raise NotUnderstood("a condition within a row")
        target = self.program.offset(stage.buffer, stage.indices, variables)
        return Row(stage, tuple(axes), variables, reads, target)
