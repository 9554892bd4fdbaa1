"""Workers against real kernels that crash, hang and compute rubbish."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import dataclass, replace
from pathlib import Path

import faulty_family
import pytest

from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.ir.tasks import Task, merge
from tvm_flow.measure import kernel_timer
from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.messages import to_message
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.worker import cores
from tvm_flow.tuning.worker.builder import Builder, BuiltKernel
from tvm_flow.tuning.worker.cores import CorePlan, plan_cores
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess
from tvm_flow.tuning.worker.protocol import (
    BUILD,
    RUN,
    BuildAnswer,
    BuildRequest,
    KernelRequest,
    MeasureRequest,
    Order,
    Outcome,
    TrialSettings,
)
from tvm_flow.tuning.worker.runner import Runner

BOARD = targets.load("native")


def describe(n: int = 4096) -> KernelRequest:
    """The faulty algorithm's kernel of ``n`` elements."""
    work = faulty_family.workload(n)
    return KernelRequest.of(work, CPU.algorithm(work), BOARD, cpu_of(BOARD))


class Bench:
    """A builder and a runner, and the short way through both."""

    def __init__(self, folder: Path) -> None:
        plan = plan_cores(BOARD, 1)
        self.builder = Builder(plan, folder, 60)
        self.runner = Runner(plan, folder, TuneOptions(trial_timeout_s=1.0), seed=0)
        self.kernel = describe()

    def build(self, step: int = 4, fault: int = 0, waste: int = 1) -> BuiltKernel:
        knobs = {"step": step, "waste": waste, "fault": fault}
        return self.builder.submit(self.kernel, knobs).result()

    def measure(self, built: BuiltKernel, best_s: float = float("inf")) -> Outcome:
        return self.runner.submit(self.kernel, built, best_s).result()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.builder.close()
    bench.runner.close()


@pytest.mark.parametrize("fault", faulty_family.FAULTS)
def test_every_fault_has_its_status_and_cause(bench: Bench, fault: int) -> None:
    built = bench.build(fault=fault)
    outcome = bench.measure(built) if built.status == "ok" else built
    assert outcome.status == faulty_family.FAULTS[fault]
    assert outcome.cause
    assert getattr(outcome, "median_s", None) is None
    after = bench.measure(bench.build())  # the next candidate does not suffer
    assert after.status == "ok"


def test_causes_say_what_happened(bench: Bench) -> None:
    def cause(fault: int) -> str:
        return bench.measure(bench.build(fault=fault)).cause

    assert cause(faulty_family.CRASH) == "killed by SIGSEGV"
    assert cause(faulty_family.HANG) == "no answer within 1 s"
    assert "off by" in cause(faulty_family.WRONG)
    assert "not written" in cause(faulty_family.UNWRITTEN)
    assert "outside of y" in cause(faulty_family.OUTSIDE)
    assert "input x" in cause(faulty_family.INPUT)
    assert "this generator is broken" in bench.build(fault=faulty_family.BROKEN).cause


def test_knobs_without_a_kernel_are_no_trial(bench: Bench) -> None:
    assert bench.build(step=3).status == "invalid"


def test_times_are_plausible_and_hopeless_ones_cut_short(bench: Bench) -> None:
    fast, slow = bench.measure(bench.build(16)), bench.measure(bench.build(1, waste=16))
    for outcome in (fast, slow):
        assert 0 < outcome.p10_s <= outcome.median_s <= outcome.p90_s < 1
    assert slow.median_s > 2 * fast.median_s
    cut = bench.measure(bench.build(1, waste=16), best_s=fast.median_s)
    assert cut.p10_s == cut.p90_s  # one repeat


@pytest.mark.parametrize(
    ("slower", "repeats"), [(2.5, 1), (1.5, 3), (1.1, 6), (1.03, kernel_timer.REPEATS)]
)
def test_candidates_that_cannot_win_get_few_repeats(slower: float, repeats: int) -> None:
    timer = kernel_timer.KernelTimer(lambda _number: slower * 1e-3, one_thread=False)
    kernel_timer.time_one(timer, budget_s=0.03, best_s=1e-3)
    assert len(timer.repeats) == repeats


def test_repeats_that_missed_a_thread_do_not_count() -> None:
    missed = iter([0, 0, 0, 4, 4, 9, *[9] * 100])  # before and after each repeat of three calls
    times = iter([1e-3, 1e-3, 9e-3, 8e-3, *[1e-3] * 100])  # the first is an estimate
    timer = kernel_timer.KernelTimer(
        lambda _number: next(times), one_thread=False, absences=lambda: next(missed)
    )
    kernel_timer.time_one(timer, budget_s=0.03, best_s=1e-3)
    assert timer.repeats == [1e-3] * kernel_timer.REPEATS
    assert timer.disturbed == [9e-3, 8e-3]  # the first repeat missed nothing


def test_side_by_side_comparison(bench: Bench) -> None:
    builds = [bench.build(16), bench.build(1, waste=16)]
    first, second = bench.runner.compare(bench.kernel, builds).result()
    assert first.median_s < second.median_s
    bad = bench.build(fault=faulty_family.WRONG)
    results = bench.runner.compare(bench.kernel, [*builds, bad]).result()
    assert [outcome.status for outcome in results] == ["wrong_result"] * 3


def test_reference_that_fails_is_reported(bench: Bench) -> None:
    kernel = replace(bench.kernel, workload=bench.kernel.workload.replace("shift=2", "shift=x"))
    outcome = bench.runner.submit(kernel, bench.build(), 1.0).result()
    assert outcome.status == "run_error"
    assert outcome.cause.startswith("reference:")


def test_worker_that_cannot_start_is_a_fault_of_the_installation(tmp_path: Path) -> None:
    (tmp_path / "tvm.py").write_text("raise ImportError('this TVM is broken')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    worker = WorkerProcess(BUILD, (), {"PYTHONPATH": path}, tmp_path / "log")
    with pytest.raises(EnvironmentFault, match="this TVM is broken") as caught:
        worker.request(BuildRequest(describe(), KNOBS, tmp_path / "x.so"), BuildAnswer, 1.0)
    assert "The build worker of the tuner does not start" in str(caught.value)


KNOBS = {"step": 4, "waste": 1, "fault": 0}


@dataclass(frozen=True)
class Nonsense:
    """A request that no worker knows."""

    nonsense: bool


def test_builders_on_measuring_cores_pause(tmp_path: Path) -> None:
    kernel = describe()
    core = min(os.sched_getaffinity(0))
    builder = Builder(CorePlan((core,), (core,)), tmp_path, 60)
    try:
        assert builder.undisturbing == 0
        builder.hold(True)
        held = builder.submit(kernel, KNOBS)
        assert wait([held], 0.5).not_done
        assert builder.quiet
        builder.hold(False)
        assert held.result(60).status == "ok"
        builder.hold(True)
        left = builder.submit(kernel, KNOBS)
    finally:
        builder.close()
    assert left.cancelled(), "nobody waits for ever"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_other_builders_go_on(tmp_path: Path) -> None:
    kernel = describe()
    first, second = sorted(os.sched_getaffinity(0))[:2]
    plan = CorePlan((first,), (first, second))
    assert plan.calm == plan.cores_of(1) == (second,)
    builder = Builder(plan, tmp_path, 60)
    try:
        assert builder.undisturbing == 1
        builder.hold(True)
        for _ in range(3):
            assert builder.submit(kernel, KNOBS).result(60).status == "ok"
            assert builder.quiet
        assert not (tmp_path / "build-0.log").exists(), "the first was never started"
    finally:
        builder.close()


def test_killed_worker_and_expired_build(tmp_path: Path) -> None:
    kernel = describe(1 << 16)
    worker = WorkerProcess(BUILD, (), {}, tmp_path / "log")
    knobs = {"step": 1, "waste": 1, "fault": 0}
    request = BuildRequest(kernel, knobs, Path("/dev/null/y.so"))
    with pytest.raises(WorkerExpired, match=r"0\.001 s"):
        worker.request(request, BuildAnswer, 0.001)
    with pytest.raises(WorkerCrashed, match="exit status 1"):
        worker.request(Nonsense(True), BuildAnswer, 10.0)
    answer = worker.request(request, BuildAnswer, 60.0)
    assert answer.status == "build_error"
    assert "/dev/null" in answer.cause
    worker.stop()


def test_orphan_with_an_endless_kernel_ends_itself(tmp_path: Path, bench: Bench) -> None:
    """Were the tuner killed, nobody would enforce the deadline: the worker's own alarm does."""
    built = bench.build(fault=faulty_family.HANG)
    worker = WorkerProcess(RUN, (), {}, tmp_path / "log")
    settings = TrialSettings(seed=0, cache=tmp_path, tolerance=1e-4, budget_s=0.01)
    request = MeasureRequest(bench.kernel, settings, built.candidate, best_s=1.0)
    process = worker.start()
    from tvm_flow.support import channel  # noqa: PLC0415

    channel.send(process.stdin.fileno(), to_message(Order(2.0, to_message(request))))
    assert process.wait(20) == -14  # SIGALRM
    worker.stop()


def test_idle_orphan_ends_with_its_tuner(tmp_path: Path) -> None:
    worker = WorkerProcess(BUILD, (), {}, tmp_path / "log")
    process = worker.start()
    process.stdin.close()
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("allowed", "build"), [({0}, {0}), ({0, 1}, {0, 1}), ({0, 1, 2}, {1, 2})], ids=str
)
def test_cores_are_kept_apart(
    allowed: set[int], build: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores or more build all the time; where there are fewer, all build by turns."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: allowed)
    monkeypatch.setattr(cores, "_siblings", lambda core: {core})
    plan = plan_cores(BOARD, 1)
    assert plan.measure == (0,)
    assert set(plan.build) == build
    assert plan.overlap == (len(allowed) > 2)


def test_equal_workloads_are_one_task() -> None:
    a, b = faulty_family.workload(16), faulty_family.workload(32)
    merged = merge([Task(a, 1, ("x",)), Task(b, 2, ("y",)), Task(a, 3, ("z",))])
    assert merged == [Task(a, 4, ("x", "z")), Task(b, 2, ("y",))]


def test_worker_starts_quickly_and_without_torch(tmp_path: Path) -> None:
    began = time.monotonic()
    worker = WorkerProcess(RUN, (), {}, tmp_path / "log")
    process = worker.start()
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    worker.stop()
    assert "libtvm" in maps
    assert "libtorch" not in maps
    assert time.monotonic() - began < 30
