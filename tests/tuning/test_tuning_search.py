"""Search, cost model, scheduling and display, on functions whose best is known."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from faulty_family import workload
from rich.console import Console

from tvm_flow import targets
from tvm_flow.cli.progress import Progress, render, summary
from tvm_flow.ir.tasks import Task, network_seconds, one_way
from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.operators import conv2d
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.record import freeze
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search.cost_model import CostModel, Features
from tvm_flow.tuning.search.proposals import ENUMERABLE, Search
from tvm_flow.tuning.search.report import TaskReport, TuneEvent, TuneReport
from tvm_flow.tuning.search.scheduler import (
    batch_size,
    best_of_layers,
    contenders,
    gain,
    next_task,
    to_beat,
)
from tvm_flow.tuning.search.state import TaskState

SPACE: Space = {
    "tile": [1, 2, 3, 4, 6, 8, 12, 16],
    "vectors": [1, 2, 3, 4],
    "unroll": [1, 2, 4, 8],
    "order": [0, 1],
}
DEFAULT = {"tile": 1, "vectors": 1, "unroll": 1, "order": 0}


def shape(width: int, channels: int) -> Workload:
    return Workload(Problem.make("gemm", w=width, co=channels, act="relu"), "direct")


def seconds(work: Workload, knobs: Knobs) -> float:
    """Slow for small tiles, for tiles that leave a rest, and for more than 24 accumulators."""
    tile, vectors = knobs["tile"], knobs["vectors"]
    waste = -(-work.problem["w"] // tile) * tile / work.problem["w"]
    waste *= -(-work.problem["co"] // (16 * vectors)) * 16 * vectors / work.problem["co"]
    accumulators = tile * vectors
    busy = max(1.0, 10 / accumulators) * (3.0 if accumulators > 24 else 1.0)
    return work.problem["w"] * work.problem["co"] * waste * busy * (1.1 - 0.1 * knobs["order"])


def every(space: Space = SPACE) -> list[Knobs]:
    search = Search(space, DEFAULT, Features(shape(56, 96), space))
    return [knobs for _, knobs in search._untried()]


def lesson(work: Workload, choices: list[Knobs]) -> tuple:
    return Features(work, SPACE), choices, np.array([seconds(work, knobs) for knobs in choices])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


@pytest.mark.parametrize("work", [shape(56, 96), shape(14, 160)])
def test_model_ranks_what_it_has_not_seen_and_other_shapes(work: Workload) -> None:
    choices = every()
    rng = np.random.default_rng(0)
    seen = [choices[at] for at in rng.permutation(len(choices))[:64]]
    model = CostModel(seed=0)
    model.update([lesson(shape(56, 96), seen), lesson(shape(28, 80), seen)])
    unseen = [knobs for knobs in choices if knobs not in seen]
    truth = np.array([-seconds(work, knobs) for knobs in unseen])
    assert rank_correlation(model.speed(Features(work, SPACE), unseen), truth) > 0.8


def test_model_waits_for_enough_trials_and_avoids_failures() -> None:
    model, work = CostModel(seed=0), shape(56, 96)
    model.update([lesson(work, every()[:4])])
    assert not model.knows(Features(work, SPACE))
    choices = every()
    features, _, times = lesson(work, choices)
    failing = np.array([knobs["unroll"] == 8 for knobs in choices])
    model.update([(features, choices, np.where(failing, np.inf, times))])
    scores = model.speed(features, choices)
    assert scores[failing].max() < scores[~failing].max() / 2
    assert not model.knows(Features(Workload(Problem.make("other", w=3), "direct"), SPACE))


def build_seconds(knobs: Knobs) -> float:
    """As in kernels: unrolled code is long, and takes long to compile."""
    return 0.1 * knobs["unroll"]


def test_what_is_quick_to_build_is_tried_rather_and_nothing_is_given_up_for_it() -> None:
    work, model = shape(56, 96), CostModel(seed=0)
    choices = every()
    features, _, times = lesson(work, choices)
    flat = np.ones_like(times)  # all are as fast, but some take long to build
    builds = np.array([build_seconds(knobs) for knobs in choices])
    assert not model.thrift(features, choices).any(), "nothing is known yet"
    model.update([(features, choices, flat)], [(features, choices, builds)])
    thrift = model.thrift(features, choices)
    assert np.corrcoef(thrift, np.log2(builds))[0, 1] < -0.95

    def mean_build(model: CostModel) -> float:
        search = Search(SPACE, DEFAULT, features)
        batch = search.propose(25, model, [], 0.2)
        return float(np.mean([build_seconds(knobs) for knobs in batch]))

    ignorant = CostModel(seed=0)
    ignorant.update([(features, choices, flat)])
    assert mean_build(model) < 0.7 * mean_build(ignorant)
    slow = np.array([0.5 if knobs["unroll"] == 8 else 1.0 for knobs in choices])
    model.update([(features, choices, slow)], [(features, choices, builds)])
    best = choices[int(model.score(features, choices).argmax())]
    assert best["unroll"] == 8, "twice as fast makes up for eight times the time to build"


def run_search(space: Space, trials: int, seed: int = 0) -> tuple[list[Knobs], float]:
    """Search as the tuner does; what was tried, and the best."""
    work, model = shape(56, 96), CostModel(seed)
    search = Search(space, DEFAULT, Features(work, space), seed=seed)
    times: dict[frozenset, float] = {}
    tried: list[Knobs] = []
    while len(tried) < trials and not search.exhausted:
        good = [dict(k) for k in sorted(times, key=times.__getitem__)]
        batch = search.propose(8, model, good, 0.1)
        tried += batch
        times |= {freeze(k): seconds(work, k) for k in batch}
        model.update([(search.features, tried, np.array([seconds(work, k) for k in tried]))])
    return tried, min(times.values())


def test_search_finds_the_best_early_and_repeats_nothing() -> None:
    best = min(seconds(shape(56, 96), knobs) for knobs in every())
    tried, found = run_search(SPACE, 48)
    assert tried[0] == DEFAULT
    assert found == best
    assert len({freeze(k) for k in tried}) == len(tried)


def test_search_ends_with_the_space() -> None:
    small: Space = {"tile": [1, 2], "vectors": [1, 2], "unroll": [1], "order": [0]}
    tried, _ = run_search(small, 100)
    assert len(tried) == 4
    assert Search(small, DEFAULT, Features(shape(8, 8), small), seen=map(freeze, tried)).exhausted


def test_great_spaces_are_searched_by_evolution() -> None:
    great = SPACE | {f"idle{n}": list(range(10)) for n in range(3)}
    default = DEFAULT | {f"idle{n}": 0 for n in range(3)}
    search = Search(great, default, Features(shape(56, 96), great))
    assert search.size > ENUMERABLE
    assert not search.exhausted
    best = min(seconds(shape(56, 96), knobs) for knobs in every())
    work, model = shape(56, 96), CostModel(0)
    times: dict[frozenset, float] = {}
    for _ in range(10):
        good = [dict(k) for k in sorted(times, key=times.__getitem__)]
        batch = search.propose(8, model, good, 0.1)
        assert len(batch) == 8
        assert not {freeze(k) for k in batch} & times.keys()
        times |= {freeze(k): seconds(work, k) for k in batch}
        knobs = [dict(k) for k in times]
        model.update([(search.features, knobs, np.array(list(times.values())))])
    assert min(times.values()) <= 1.02 * best


def states(*works: Workload, counts: tuple[int, ...] = ()) -> list[TaskState]:
    board, store = targets.load("native"), RecordStore("nowhere", "none")
    return [
        TaskState.begin(
            Task(work, counts[at] if counts else 1), board, store,
            threads=1, seed=0, early_stop=20, options=TuneOptions(),
        )
        for at, work in enumerate(works)
    ]  # fmt: skip


def test_no_task_starves() -> None:
    tasks = states(*(workload(n) for n in (1024, 2048, 4096)), counts=(1, 1000, 1))
    served, left = [], 15
    for _ in range(6):
        state = next_task(tasks)
        served.append(tasks.index(state))
        count = batch_size(tasks, state, 8, left)
        assert count == (1 if state.batches == 0 else 4)
        left -= count
        state.batches += 1
        for step in (1, 2, 4):
            state.note({"step": step, "waste": state.batches, "fault": 0}, "ok", 1e-4)
    assert served == [0, 1, 2, 0, 1, 2]
    assert next_task(tasks) is tasks[1]  # then the one that matters most
    assert batch_size(tasks, tasks[1], 8, 3) == 3
    assert batch_size(tasks, tasks[1], 8, None) == 8


def test_of_several_ways_to_compute_a_layer_the_fastest_counts() -> None:
    direct, winograd, other = states(workload(), workload(2048), workload(1024))
    for state, seconds_ in ((direct, 2e-3), (winograd, 1e-3), (other, 1e-4)):
        if state is not other:
            as_one_way(state)
        state.note({"step": 1, "waste": 8, "fault": 0}, "ok", seconds_)
        state.batches = 2
    assert next_task([direct, winograd]) is winograd
    report = TuneReport(tuple(s.report() for s in (direct, winograd, other)), 1, 1.0, 3, 0)
    assert report.best_latency_s == pytest.approx(1.1e-3)


def test_a_default_that_was_never_tried_gets_its_turn() -> None:
    fast, slow = (as_one_way(state) for state in states(workload(), workload(2048)))
    fast.note(fast.default, "ok", 1e-3)
    fast.batches = 2
    slow.note({"step": 1, "waste": 7, "fault": 0}, "ok", 2e-3)  # what an older default was
    assert next_task([fast, slow]) is slow
    slow.note(slow.default, "ok", 2e-3)
    assert next_task([fast, slow]) is fast


def test_of_equal_hope_the_cheaper_trial_comes_first() -> None:
    slow, quick = two = states(workload(), workload(2048), counts=(1, 1))
    for state, seconds in zip(two, (1.2, 0.3), strict=True):
        state.batches = 2
        state.note(state.default, "ok", 1e-3)
        state.builds[freeze(state.default)] = seconds
    assert next_task(two) is quick
    assert batch_size(two, quick, 8, None) == 8
    assert batch_size(two, slow, 8, None) == 5, "of trials that take long a batch has fewer"
    assert batch_size(two, slow, 8, 2) == 2
    slow.task = replace(slow.task, count=9)
    assert next_task(two) is slow, "nine times as much to gain for four times the time"


def as_one_way(state: TaskState) -> TaskState:
    """The same task as one of several ways to compute a layer."""
    one = Workload(workload(16).problem, f"way_of_{state.task.problem['n']}")
    state.task = replace(state.task, workload=one)
    return state


def test_a_fused_operator_competes_with_its_parts() -> None:
    first, last, whole = three = states(workload(), workload(2048), workload(512), counts=(2, 2, 2))
    parts = (first.task.problem.key, last.task.problem.key)
    whole.task = replace(whole.task, parts=parts)
    for state, seconds in zip(three, (2e-3, 3e-3, 5.2e-3), strict=True):
        state.note(state.default, "ok", seconds)
    assert contenders(three) == three
    tasks = [state.task for state in three]
    best = best_of_layers(three)
    assert [to_beat(task, best) for task in tasks] == [2e-3, 3e-3, 5e-3]
    assert network_seconds(zip(tasks, (2e-3, 3e-3, 5.2e-3), strict=True)) == 2 * 5e-3
    assert network_seconds(zip(tasks, (2e-3, 3e-3, 4e-3), strict=True)) == pytest.approx(2 * 4e-3)
    assert network_seconds(zip(tasks, (2e-3, 3e-3, math.inf), strict=True)) == 2 * 5e-3
    assert network_seconds(zip(tasks, (2e-3, math.inf, 4e-3), strict=True)) == math.inf
    assert one_way(tasks) == tasks[:2]
    slow = states(workload(128), counts=(2,))[0]
    slow.task = replace(slow.task, parts=parts)
    slow.note(slow.default, "ok", 6e-3)
    assert contenders([first, last, slow]) == [first, last], "a default so far behind is out"


def test_gain_counts_runs_time_and_progress() -> None:
    one, many, stuck = states(workload(), workload(2048), workload(1024), counts=(1, 9, 1))
    for state in (one, many, stuck):
        state.note({"step": 1, "waste": 1, "fault": 0}, "ok", 1e-3)
        for trial in range(12):
            better = 1e-4 * trial if state is not stuck else 0.0
            state.note({"step": 2, "waste": trial, "fault": 0}, "ok", 2e-3 - better)
    gains = [gain(state, state.best_s) for state in (many, one, stuck)]
    assert gains[0] > gains[1] >= gains[2] > 0
    assert gain(one, 0.9 * one.best_s) < gains[1], "another way to compute the layer is faster"
    assert gain(stuck, stuck.best_s / 2) == 0
    for trial in range(20, 40):
        stuck.note({"step": 4, "waste": trial, "fault": 0}, "crashed", float("inf"))
    assert stuck.finished().startswith("no gain")
    assert next_task([stuck]) is None


def example(count: int = 3) -> TuneReport:
    size = {"h": 112, "w": 112, "ci": 320, "co": 1280}
    shape = {**size, "kh": 3, "kw": 3, "sh": 2, "sw": 2, "act": "hard_swish"}
    works = [
        Workload(Problem.of("conv2d", {"n": n, **shape}), "direct") for n in range(1, count + 1)
    ]
    tasks = [
        TaskReport(Task(work, 12), 10**9, 83.0, 130, 30, 0.0123, 0.0061, {}, "active", {})
        for work in works
    ]
    tasks[0] = replace(tasks[0], failures={"crashed": 2, "timeout": 1})
    tasks[-1] = replace(tasks[-1], default_s=None, best_s=None)
    return TuneReport(tuple(tasks), 1, 75.0, 90, 5, target=1000, limit_s=3600.0, notes=("a note",))


def test_progress_fits_80_columns() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, height=24, force_terminal=True, color_system=None)
    console.print(render(example(40), rows=10))
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    for expected in ("conv2d 112x112 320>1280 3x3/2", "2.02x", "30 more tasks", "2 crashed"):
        assert expected in text
    with Progress(console) as progress:
        progress(TuneEvent("trial", "", example(40)))
        progress(TuneEvent("stop", "done", replace(example(), phase="done", stopped="over")))


def test_progress_is_plain_lines_where_there_is_no_terminal() -> None:
    screen = io.StringIO()
    with Progress(Console(file=screen, width=80)) as progress:
        for kind in ("start", "trial", "trial", "stop"):
            progress(TuneEvent(kind, "word", example()))
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2  # trials at most every ten seconds
    assert lines[0].startswith("start: word; 390/1000 trials (90 now, 72/min); failed: 2 crashed")
    assert "\x1b" not in screen.getvalue()


def test_report_figures() -> None:
    report = example(3)
    assert report.default_latency_s is None  # one task has no time
    known = replace(report, tasks=report.tasks[:2])
    assert known.best_latency_s == pytest.approx(24 * 0.0061)
    assert known.tasks[0].gflops == pytest.approx(2 / 0.0061)
    assert "2.02x, estimated" in summary(known)
    assert report.eta_s == pytest.approx((1000 - 390) * 75 / 90)
    assert replace(known.tasks[0], peak_gflops=0.0).percent_of_peak is None


def test_short_names() -> None:
    assert Workload(Problem.make("pool", n=1, k=3), "direct").short_name == "pool k=3 n=1"
    chain = Problem.make("mbconv", h=28, w=28, ci=24, hid=144, co=32, k=3, st=2, act1="relu6")
    assert Workload(chain, "rows").short_name == "mbconv rows 28x28 24>144>32 3x3/2 relu6"
    conv = Problem.make("conv2d", h=7, w=7, ci=8, co=16, kh=3, kw=3, act="none", layout="nchw")
    assert Workload(conv, "winograd4").short_name == "conv2d winograd4 nchw 7x7 8>16 3x3"
    window = {"kh": 3, "kw": 3, "ph": 2, "pw": 2, "dh": 2, "dw": 2}
    conv = conv2d.problem(n=1, h=7, w=7, ci=8, co=16, groups=4, **window)
    assert Workload(conv, "narrow").short_name == "conv2d narrow 7x7 8>16 3x3 g4 d2"
    turn = Problem.make("transpose", h=7, w=7, c=8, n=1, layout="nchw_to_nhwc")
    assert Workload(turn, "direct").short_name == "transpose nchw>nhwc 7x7 8"


def test_algorithms_with_the_same_knobs_learn_of_each_other() -> None:
    """Others do not: nothing is known of knobs that no trial had."""
    direct, choices = shape(56, 96), every()
    model = CostModel(seed=0)
    model.update([lesson(direct, choices[:64])])
    other = Workload(direct.problem, "winograd4")
    assert model.knows(Features(other, SPACE))
    assert not model.knows(Features(other, SPACE | {"rows": [1, 2]}))
