"""How much time is kept for the closing comparison: real workers, and sums that can be checked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_family import workload

from tvm_flow import targets
from tvm_flow.ir.tasks import Task
from tvm_flow.measure.kernel_timer import REPEATS
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import freeze
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search import finals, reserve
from tvm_flow.tuning.search.reserve import Pace, Reserve
from tvm_flow.tuning.search.run import TunerRun
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.search.trial_queue import Job, TrialQueue
from tvm_flow.tuning.worker.bench import LocalBench
from tvm_flow.tuning.worker.builder import Builder
from tvm_flow.tuning.worker.cores import plan_cores
from tvm_flow.tuning.worker.runner import Runner, compare_s

BOARD = targets.load("native")
QUICK = TuneOptions(trial_budget_s=0.003, trial_timeout_s=1.0, final_rounds=15)
KNOBS = [{"step": step, "waste": waste, "fault": 0} for step in (1, 2, 4) for waste in (1, 2)]


def state_of(work: Workload, store: RecordStore | None = None) -> TaskState:
    return TaskState.begin(
        Task(work), BOARD, store or RecordStore("nowhere", "none"),
        threads=1, seed=0, early_stop=None, options=QUICK,
    )  # fmt: skip


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[TrialQueue]:
    plan = plan_cores(BOARD, 1)
    builder, runner = Builder(plan, tmp_path, 60), Runner(plan, tmp_path, QUICK, seed=0)
    yield TrialQueue(builder, runner, plan.overlap, QUICK.finalists)
    builder.close()
    runner.close()


def search(queue: TrialQueue, state: TaskState) -> None:
    """Measure the default and :data:`KNOBS`."""
    for knobs in [state.default, *KNOBS]:
        queue.feed(Job(state, knobs))
    while queue.busy:
        for job, outcome in queue.step(0.5):
            assert outcome.median_s is not None, outcome.cause
            job.state.note(job.knobs, outcome.status, outcome.median_s)


def test_comparison_costs_the_trials_and_the_repeats_they_had_less() -> None:
    options = TuneOptions(trial_budget_s=0.02)
    share_s, more = 0.02 / REPEATS, 21 - REPEATS
    short, long = 1e-4, 0.5  # seconds per call: many calls in a repeat, and one that takes longer
    expected = (0.03 + more * share_s) + (7.0 + more * 0.5)
    assert compare_s([0.03, 7.0], [short, long], options, 21) == pytest.approx(expected)
    fewer = compare_s([7.0, 0.03], [long, short], options, 3)  # as on an emulated board
    assert fewer == pytest.approx(7.0 - (REPEATS - 3) * 0.5 + 0.03 - (REPEATS - 3) * share_s)
    assert compare_s([0.03], [long], options, 3) == 0.0


def test_pace_is_the_candidates_own_or_the_tasks_or_anybodys() -> None:
    known, unknown = state_of(workload(1 << 12)), state_of(workload(1 << 13))
    at_first = Pace.of([known, unknown])
    assert at_first.build_s(Job(known, KNOBS[0])) > 0
    assert at_first.run_s(Job(known, KNOBS[0])) > 0
    known.builds = dict(zip(map(freeze, KNOBS), (1.0, 2.0, 6.0), strict=False))
    known.runs = dict(zip(map(freeze, KNOBS), (0.1, 0.2, 90.0), strict=False))
    pace = Pace.of([known, unknown])
    assert pace.build_s(Job(known, KNOBS[2])) == 6.0
    assert pace.run_s(Job(known, KNOBS[0])) == 0.1
    for state in (known, unknown):
        assert pace.build_s(Job(state, KNOBS[5])) == 3.0, "long builds come again"
        assert pace.run_s(Job(state, KNOBS[5])) == 0.2, "a board that was away does not"


def test_what_is_on_its_way_is_reckoned_with(queue: TrialQueue) -> None:
    state = state_of(workload())
    kept = Reserve(queue, QUICK.finalists)
    assert kept.seconds([state]) == 0.0
    for knobs in KNOBS[:4]:
        queue.feed(Job(state, knobs))
    pace = Pace.of([state])
    builds = 4 * pace.any_build / queue.builders
    assert kept.seconds([state]) == pytest.approx(builds + 4 * pace.any_run)
    while queue.busy:
        queue.step(0.5)
    assert kept.seconds([state]) == 0.0, "nothing was noted that could be compared"


def test_comparison_of_this_runs_candidates_builds_nothing(queue: TrialQueue) -> None:
    state = state_of(workload())
    search(queue, state)
    chosen = finals.finalists(state, QUICK.finalists)
    runs = [state.runs[freeze(knobs)] for knobs in chosen]
    assert len(chosen) >= QUICK.finalists
    times = [state.times[freeze(knobs)] for knobs in chosen]
    measuring = reserve._UNREST * compare_s(runs, times, QUICK, QUICK.final_rounds)
    assert Reserve(queue, QUICK.finalists).seconds([state]) == pytest.approx(measuring)
    rivals = [state, state_of(workload(1 << 13))]
    assert Reserve(queue, QUICK.finalists).seconds(rivals) == pytest.approx(measuring), (
        "a task of which nothing was measured is not compared"
    )


def test_finalists_of_an_earlier_run_are_built_again(queue: TrialQueue) -> None:
    state = state_of(workload())
    search(queue, state)
    kept = Reserve(queue, QUICK.finalists).seconds([state])
    later = TrialQueue(queue._builder, queue.runner, overlap=True, finalists=QUICK.finalists)
    again = Reserve(later, QUICK.finalists).seconds([state])
    chosen = finals.finalists(state, QUICK.finalists)
    builds = sum(state.builds[freeze(knobs)] for knobs in chosen)
    side_by_side = min(later.builders, len(chosen))
    assert again - kept == pytest.approx(reserve._UNREST * builds / side_by_side)


def test_search_leaves_the_reserve_and_never_more_than_its_share(tmp_path: Path) -> None:
    store, plan = RecordStore(tmp_path / "log"), plan_cores(BOARD, 1)
    run = TunerRun(
        BOARD, store, threads=1, seed=0, options=replace(QUICK, batch=4), on_event=None,
        bench=LocalBench(),
    )  # fmt: skip
    run.states = [state_of(workload(n), store) for n in (1 << 12, 1 << 13)]
    run.target = 12
    assert run._search_limit() == math.inf
    with store.writing(cpu_model=BOARD.soc):
        run.go(plan)
    assert run.stopped == "12 trials are done"
    run.limit_s, run.target = 1000.0, None
    assert run._search_limit() == 600.0, "no need to reckon yet"
    run.started = time.monotonic() - 700.0
    reserved = run._reserve.seconds(run.states)
    assert 0.0 < reserved < 100.0
    assert run._search_limit() == pytest.approx(1000.0 - reserved)
    assert not run._why_stop()
    run.started = time.monotonic() - 1000.0
    assert run._why_stop() == "time is up"
    run.limit_s = reserved
    assert run._search_limit() == pytest.approx(0.6 * reserved), "most of it is for the search"
