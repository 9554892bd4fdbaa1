"""A family's space of knobs as a MetaSchedule design space.

The tuner searches knobs itself. This module opens the same space to MetaSchedule's own search
strategies: every knob becomes one ``sample_categorical`` decision, noted as an annotation of a
placeholder block, and a strategy's candidate is read back as knobs::

    compat.fast_tensor_intrin()  # TuneContext imports it; the plain import takes half a minute
    space = ScheduleFn(metaschedule_space(family, workload, cpu),
                       sch_rules=[], postprocs=[], mutator_probs={})
    context = TuneContext(placeholder(workload), target=..., space_generator=space,
                          search_strategy="replay-trace")
    ...
    kernel = family.build(workload, cpu, knobs_of(candidate.sch), name)

MetaSchedule's mutators look for tile sizes and unrolling, not for these decisions, so that its
strategies sample and rank but do not mutate here.
"""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm.s_tir import Schedule
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import Cpu, Family, Knobs, Workload
from tvm_flow.schedules.contract.dtypes import FLOAT32

_BLOCK = "knobs"
_PREFIX = "tvm_flow.knob."
_WORKLOAD = "tvm_flow.workload"


def placeholder(workload: Workload) -> tvm.IRModule:
    """A module that stands for ``workload``: one block to hang decisions on, nothing computed.

    It carries the workload's key, so that a MetaSchedule database tells workloads apart.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        out = T.arg("out", T.buffer((1,), FLOAT32))
        T.func_attr({_WORKLOAD: workload.key, "tirx.noalias": True})
        with T.sblock(_BLOCK):
            T.reads()
            T.writes(out[0:1])
            T.buffer_store(out, 0.0, [0])
    return tvm.IRModule({"main": builder.get()})


def metaschedule_space(
    family: Family, workload: Workload, cpu: Cpu
) -> Callable[[Schedule], Schedule]:
    """The function for MetaSchedule's ``ScheduleFn``; it samples every knob uniformly.

    The design space it generates has the default knobs as its decisions.
    """
    space, default = family.space(workload, cpu), family.default(workload, cpu)

    def sample(schedule: Schedule) -> Schedule:
        block = schedule.get_sblock(_BLOCK)
        for name, choices in sorted(space.items()):
            even = [1.0 / len(choices)] * len(choices)
            at = choices.index(default[name])
            value = schedule.sample_categorical(choices, even, decision=at)
            schedule.annotate(block, _PREFIX + name, value)
        return schedule

    return sample


def knobs_of(schedule: Schedule) -> Knobs:
    """The knobs that the decisions of a sampled ``schedule`` amount to.

    Raises ``ValueError`` for a schedule that is not of :func:`metaschedule_space`.
    """
    annotations = schedule.get(schedule.get_sblock(_BLOCK)).annotations
    knobs = {
        name.removeprefix(_PREFIX): int(value)
        for name, value in annotations.items()
        if name.startswith(_PREFIX)
    }
    if not knobs:
        raise ValueError("the schedule has no knobs: was it sampled with metaschedule_space?")
    return knobs
