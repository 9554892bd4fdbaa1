"""Stages without a reduction: one pass over memory, in vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.affine import Affine, Axis
from tvm_flow.codegen.rest.lanes import Lanes
from tvm_flow.codegen.rest.loops import Nest, nests
from tvm_flow.codegen.rest.program import Program, Reads
from tvm_flow.codegen.rest.stages import Stage
from tvm_flow.schedules.cpu.emit.microkernel import parallel
from tvm_flow.schedules.cpu.emit.vector import Expr, pieces, store

#: Elements; below, starting threads costs more than it gains.
PARALLEL_FROM = 1 << 15
#: Vectors per round of a loop whose body is small, up to this much work.
UNROLL, SMALL_WORK = 4, 24


@dataclass(frozen=True)
class Machine:
    """fp32 lanes of a vector, and threads to share work among."""

    lanes: int
    threads: int


def emit_stage(
    program: Program, stage: Stage, buffers: Mapping[Any, tirx.Buffer], machine: Machine
) -> None:
    """All elements of a stage, from those in ``buffers``."""
    for nest in nests(program, stage):
        _Pass(program, stage, buffers, machine, nest).emit()


class _Pass:
    """One nest of loops of a stage."""

    def __init__(
        self, program: Program, stage: Stage, buffers: Mapping[Any, tirx.Buffer],
        machine: Machine, nest: Nest,
    ) -> None:  # fmt: skip
        self.program, self.stage, self.buffers, self.nest = program, stage, buffers, nest
        self.target = program.offset(stage.buffer, stage.indices, nest.variables)
        self.reads = program.reads(stage.value, nest.variables)
        self.threads = machine.threads if nest.total >= PARALLEL_FROM else 1
        last = nest.axes[-1] if nest.axes else None
        self.axis = None
        if last is not None and self.target.factor(last) == 1:
            self.axis = last if can_be_vectors(stage, self.reads, last) else None
        self.lanes = machine.lanes if self.axis else 1

    def emit(self) -> None:
        outer = [axis for axis in self.nest.axes if axis != self.axis]
        if self.axis is None:
            with loops(outer, self.threads) as places:
                self._store(places, 1)
            return
        turned = _turned(self.reads.accesses, self.axis, outer)
        if turned:
            outer.remove(turned)
        rows = math.prod(axis.extent for axis in outer)
        shared = self.threads if rows > 1 else 1
        blocks = self.threads if rows == 1 else 1
        with loops(outer, shared) as places:
            self._row(places, [turned] if turned else [], blocks)

    def _row(self, places: Mapping[Axis, Expr], inside: Sequence[Axis], threads: int) -> None:
        """All vectors along the axis; ``inside`` is a loop within each."""
        axis = self.axis
        assert axis is not None

        def vectors(base: Expr, width: int) -> None:
            with loops(inside, 1) as inner:
                self._store({**places, **inner, axis: base}, width)

        unroll = UNROLL if self.reads.work <= SMALL_WORK and not inside else 1
        along(axis.extent, self.lanes, vectors, unroll=unroll, threads=threads)

    def _store(self, places: Mapping[Axis, Expr], width: int) -> None:
        lanes = Lanes(self.program, self.buffers, places, self.axis, width)
        value = lanes.wide(lanes.value(self.stage.value, self.nest.variables))
        at = self.target if self.axis is None else self.target.without(self.axis)
        first = lanes.place(at) + (places[self.axis] if self.axis else 0)
        store(self.buffers[self.stage.buffer], value, first, width)


def can_be_vectors(stage: Stage, reads: Reads, axis: Axis) -> bool:
    """Whether a stage can be computed for several values of ``axis``, which it is stored along."""
    if reads.scalar or str(stage.buffer.dtype) == "bool":
        return False
    return not any(
        axis in set(value.axes()) for _, known in reads.conditions for value in known.values()
    )


def _turned(accesses: Mapping[tuple[Any, Affine], None], axis: Axis, outer: Sequence[Axis]
            ) -> Axis | None:  # fmt: skip
    """The axis along which something is contiguous that is not along ``axis``: it belongs inside,
    where the cache lines that a vector is gathered from are still near."""
    for _, at in accesses:
        if at.factor(axis) > 1:
            for other in outer:
                if at.factor(other) == 1:
                    return other
    return None


def along(
    count: int, lanes: int, body: Callable[[Expr, int], None], *, unroll: int = 1,
    threads: int = 1, again: bool = True,
) -> None:  # fmt: skip
    """``body(first, width)`` for all of ``count`` elements; the last vector of many ends with the
    last element, and computes some a second time. Of fewer elements than ``lanes``, and where
    nothing may be computed ``again``, vectors get shorter by halves.
    """
    if count < lanes:
        for offset, width in pieces(count, lanes):
            body(tirx.IntImm("int32", offset), width)
        return
    whole = count // lanes
    rounds = whole // unroll
    if rounds > 1:
        with parallel(rounds, threads) as number:
            for part in range(unroll):
                body(number * (unroll * lanes) + part * lanes, lanes)
    else:
        rounds = 0
    for number in range(rounds * unroll, whole):
        body(tirx.IntImm("int32", number * lanes), lanes)
    if not again:
        for offset, width in pieces(count - whole * lanes, lanes):
            body(tirx.IntImm("int32", whole * lanes + offset), width)
    elif whole * lanes < count:
        body(tirx.IntImm("int32", count - lanes), lanes)


@contextmanager
def loops(axes: Sequence[Axis], threads: int) -> Iterator[dict[Axis, Expr]]:
    """Loops over all values of ``axes``, in parallel where there are threads."""
    places: dict[Axis, Expr] = {}
    if threads > 1 and axes:
        with parallel(math.prod(axis.extent for axis in axes), threads) as task:
            rest: Expr = T.bind(task)
            for axis in reversed(axes):
                places[axis], rest = rest % axis.extent, rest // axis.extent
            yield places
        return
    with ExitStack() as stack:
        for axis in axes:
            places[axis] = stack.enter_context(T.serial(0, axis.extent))
        yield places
