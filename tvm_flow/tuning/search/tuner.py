"""The tuner: search, build, measure and record until the budget is spent or nothing improves."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from tvm_flow.backends import CPU, Backend
from tvm_flow.ir.tasks import Task, merge
from tvm_flow.support.errors import TuningError, UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions, check_limits
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search.report import OnEvent, TuneReport
from tvm_flow.tuning.search.run import TunerRun
from tvm_flow.tuning.search.state import TaskState
from tvm_flow.tuning.worker.bench import Bench, LocalBench
from tvm_flow.tuning.worker.cores import confined


def tune_tasks(
    tasks: Iterable[Task],
    board: Board,
    *,
    store: RecordStore,
    backend: Backend = CPU,
    trials: int | None = None,
    minutes: float | None = None,
    threads: int = 1,
    seed: int = 0,
    on_event: OnEvent | None = None,
    early_stop: int | None = 96,
    options: TuneOptions | None = None,
    bench: Bench | None = None,
) -> TuneReport:
    """Tune ``tasks`` and record every trial in ``store``.

    Parameters
    ----------
    backend: the kind of device.
    trials: total number of trials, those already recorded for these tasks included: the same
        command run again goes on where it was stopped.
    minutes: limit of wall time of this run. Without both limits, tuning ends when nothing improves.
    threads: worker threads the kernels are tuned for.
    early_stop: trials of one task without improvement after which it is left alone.
    on_event: called after every trial with a :class:`TuneEvent`.
    bench: where candidates are timed; by default on this machine.

    Ctrl-C ends tuning early: the report then says ``interrupted`` and all records are kept.

    Raises
    ------
    UsageError: limits or threads make no sense, an operator is unknown, the board is another CPU.
    RecordError: the log is in use, damaged, or cannot be written.
    TuningError: not one trial worked, in this run or before.
    EnvironmentFault: workers cannot be started.
    """
    check_limits(trials, minutes)
    bench = bench or LocalBench(backend)
    merged = merge(tasks)
    if not merged:
        raise UsageError("Nothing to tune", why="the network has no tunable operator")
    plan = bench.plan(board, threads)
    options = replace(
        options or TuneOptions(), cold_bytes=backend.weight_bytes(merged, board, threads)
    )
    run = TunerRun(
        board,
        store,
        threads=threads,
        seed=seed,
        options=options,
        on_event=on_event,
        bench=bench,
        backend=backend,
    )
    run.target, run.limit_s = trials, None if minutes is None else 60 * minutes
    with ExitStack() as stack:
        stack.enter_context(store.writing(cpu_model=board.soc))
        run.states = [
            TaskState.begin(
                task, board, store, threads=threads, seed=seed, early_stop=early_stop,
                options=options, label=bench.label, backend=backend,
            )
            for task in merged
        ]  # fmt: skip
        stack.enter_context(confined(plan))
        run.go(plan)
    report = run.report("done")
    if not report.interrupted and all(task.best_s is None for task in report.tasks):
        raise TuningError(
            "Not one kernel could be measured",
            why=run.last_cause or "no trial was made",
            fix="tvm-flow doctor, and see tvm-flow records show for every failure",
        )
    return report
