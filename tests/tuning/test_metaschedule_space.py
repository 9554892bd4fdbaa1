"""MetaSchedule's own strategies explore a family's space, and what they find builds."""

from __future__ import annotations

import faulty_family
import pytest
from tvm.s_tir import Schedule
from tvm.target import Target

from tvm_flow import targets
from tvm_flow.ir.tasks import cpu_of, family_of
from tvm_flow.schedules.contract.base import InvalidKnobs
from tvm_flow.support import compat
from tvm_flow.tuning.records.store import in_space
from tvm_flow.tuning.search.schedules_space import knobs_of, metaschedule_space, placeholder

BOARD = targets.load("native")
WORK = faulty_family.workload()
CPU = cpu_of(BOARD)
FAMILY = family_of(WORK, BOARD)


def test_design_space_starts_at_the_default() -> None:
    schedule = metaschedule_space(FAMILY, WORK, CPU)(Schedule(placeholder(WORK)))
    assert knobs_of(schedule) == FAMILY.default(WORK, CPU)


def test_trace_replays_to_the_same_knobs() -> None:
    schedule = Schedule(placeholder(WORK), seed=7)
    metaschedule_space(FAMILY, WORK, CPU)(schedule)
    again = Schedule(placeholder(WORK))
    schedule.trace.apply_to_schedule(again, remove_postproc=False)
    assert knobs_of(again) == knobs_of(schedule)


def test_unsampled_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="has no knobs"):
        knobs_of(Schedule(placeholder(WORK)))


@pytest.mark.parametrize("strategy", ["replay-trace", "evolutionary"])
def test_stock_strategies_sample_the_whole_space(strategy: str) -> None:
    compat.fast_tensor_intrin()
    from tvm.s_tir.meta_schedule import TuneContext  # noqa: PLC0415
    from tvm.s_tir.meta_schedule.search_strategy import (  # noqa: PLC0415
        EvolutionarySearch,
        ReplayTrace,
    )
    from tvm.s_tir.meta_schedule.space_generator import ScheduleFn  # noqa: PLC0415

    search = (
        ReplayTrace()
        if strategy == "replay-trace"
        else EvolutionarySearch(population_size=32, init_min_unmeasured=8, genetic_num_iters=1)
    )
    generator = ScheduleFn(
        metaschedule_space(FAMILY, WORK, CPU), sch_rules=[], postprocs=[], mutator_probs={}
    )
    context = TuneContext(
        placeholder(WORK),
        target=Target(BOARD.tvm_target()),
        space_generator=generator,
        search_strategy=search,
        num_threads=1,
        rand_state=1,
    )
    context.pre_tuning(max_trials=16, num_trials_per_iter=16)
    found = [knobs_of(candidate.sch) for candidate in context.generate_measure_candidates()]
    assert len(found) >= 8
    assert len({frozenset(knobs.items()) for knobs in found}) > 4
    space = FAMILY.space(WORK, CPU)
    built = 0
    for knobs in found:
        assert in_space(knobs, space)
        try:
            FAMILY.build(WORK, CPU, knobs, "kernel")
            built += 1
        except InvalidKnobs:
            assert WORK["n"] % knobs["step"]
    assert built
