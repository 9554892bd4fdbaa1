"""``tvm-flow tune``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from tvm_flow.cli import INTERRUPTED
from tvm_flow.cli.arguments import (
    Input,
    Key,
    ModelArgument,
    ModelOption,
    Records,
    Sample,
    Target,
    Tracker,
    Weights,
    given_model,
    given_tracker,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, say

if TYPE_CHECKING:
    from tvm_flow.api.tune import TuneReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow tune fasternet_t0 --minutes 10",
        "tvm-flow tune shufflenet_v2_x1_0 --trials 1000 --threads 2",
        "tvm-flow tune fasternet_t0 --target rk3399 --tracker 192.168.1.2:9190",
        "tvm-flow tune fasternet_t0 --target rk3399 --runner modelled --trials 200",
        "tvm-flow tune path/to/file.py:factory --input 1x3x96x96 --records my_logs",
    )(tune)


def tune(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    target: Target = "native",
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials",
            metavar="N",
            help="Trials in all, those recorded before included.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="M", help="Limit of this run's wall time.", show_default=False
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", help="Worker threads to tune for.")
    ] = 1,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
    tracker: Tracker = None,
    key: Key = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the search.")] = 0,
    runner: Annotated[
        str,
        typer.Option(
            "--runner", metavar="R", help="measured; or modelled: rank for an Arm board by a model."
        ),
    ] = "measured",
) -> Answer:
    """Measure kernels of a model, here or on boards (--tracker), and record what is found.

    Goes on from the records there are; with no limit, until nothing improves. Ctrl-C keeps all
    that was measured. Progress is shown on standard error.
    """
    from rich.console import Console  # noqa: PLC0415

    from tvm_flow.api.tune import bench_of, prepare  # noqa: PLC0415
    from tvm_flow.api.tune import tune as tuned  # noqa: PLC0415

    given = given_model(model, model_option, weights, input, sample)
    there = given_tracker(tracker, key)
    # refuses before the imports below
    board, _ = prepare(target, trials, minutes, threads, records)
    bench_of(board, threads, runner=runner, tracker=there)
    from tvm_flow.cli.progress import Progress  # noqa: PLC0415 - imports TVM

    with Progress(Console(stderr=True)) as progress:
        report = tuned(
            given,
            target=target,
            trials=trials,
            minutes=minutes,
            threads=threads,
            records=records,
            seed=seed,
            tracker=there,
            runner=runner,
            on_event=progress,
            on_wait=say,
        )
    code = INTERRUPTED if report.interrupted else 0
    return Answer(to_json(str(given.source), report), lambda: show(report), code)


def show(report: TuneReport) -> Iterable[RenderableType]:
    """The final state of every task."""
    from tvm_flow.cli.progress import render  # noqa: PLC0415

    yield render(report)
    kept = "all of them are kept; the same command goes on from there"
    if report.interrupted:
        yield line(f"stopped by Ctrl-C after {report.measured} trials: {kept}")


def to_json(model: str, report: TuneReport) -> dict[str, Any]:
    """A run as plain data; times in seconds per call, ``label`` says of what kind."""
    return {
        "model": model,
        "label": report.label,
        "threads": report.threads,
        "seconds": report.seconds,
        "measured": report.measured,
        "total": report.total,
        "stopped": report.stopped,
        "interrupted": report.interrupted,
        "failures": dict(report.failures),
        "default_latency_s": report.default_latency_s,
        "best_latency_s": report.best_latency_s,
        "notes": list(report.notes),
        "tasks": [
            {
                "problem": task.task.problem.key,
                "algorithm": task.task.workload.algorithm,
                "count": task.task.count,
                "trials": task.trials,
                "default_s": task.default_s,
                "best_s": task.best_s,
                "best_knobs": task.best_knobs,
                "gflops": task.gflops,
                "percent_of_peak": task.percent_of_peak,
            }
            for task in report.tasks
        ],
    }
