"""``tvm-flow advise``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import (
    Input,
    ModelArgument,
    ModelOption,
    Records,
    Sample,
    Target,
    Threads,
    Weights,
    given_model,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, milliseconds, notes, shared_path, table

if TYPE_CHECKING:
    from tvm_flow.api.advise import AdviceReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow advise mobilenet_v3_small --threads 1",
        "tvm-flow advise resnet18 --threads 1 --compile-changes",
        "tvm-flow advise fasternet_t0 --target rk3399",
        "tvm-flow advise shufflenet_v2_x1_0 --json",
        busy="compiling and measuring",
    )(advise)


def advise(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    compile_changes: Annotated[
        bool,
        typer.Option(
            "--compile-changes",
            help="Compile and time each layer and what it would change to.",
        ),
    ] = False,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs to time.")] = 50,
    target: Target = "native",
    threads: Threads = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
) -> Answer:
    """Say what to change in a network to make it faster on a target, and what that would save.

    Savings are modelled by the target's peaks, or with --compile-changes by compiling the changed
    layers: measured on this machine."""
    given = given_model(model, model_option, weights, input, sample)
    from tvm_flow.api.advise import advise as advised  # noqa: PLC0415 - imports torch

    report = advised(
        given, target=target, threads=threads, runs=runs, records=records,
        compile_changes=compile_changes,
    )  # fmt: skip
    return Answer(report.to_json(), lambda: show(report))


def show(report: AdviceReport) -> Iterable[RenderableType]:
    """Findings by saving, and how each rule fared."""
    yield line(f"{report.model} on {report.target}, {report.threads} thread(s)", "bold")
    yield line(f"{milliseconds(1e3 * report.total_s)} ms in kernels ({report.total_word})\n")
    if report.findings:
        yield _findings(report)
        yield line("\n* the network computes something else then: train it again. Savings of one "
                   "layer exclude each other.")  # fmt: skip
    else:
        yield line("nothing found that would save 0.2 % of the time or more")
    yield line("")
    audit = table("rule", ">places", ">worth it")
    for entry in report.audit:
        audit.add_row(entry.rule, str(entry.places), str(entry.worth))
    yield audit
    yield from notes(report.notes)
    if not report.valid:
        yield line(f"NOT VALID: {report.reason}", "bold red")


def _findings(report: AdviceReport) -> RenderableType:
    made = table(">saves ms", ">of ms", "how known", "where", "change",
                 flexible=["where", "change"])  # fmt: skip
    for one in report.findings:
        first = one.modules[: len(one.modules) // one.count]
        where = shared_path(first) or one.symbols[0]
        more = f" and {one.count - 1} more" if one.count > 1 else ""
        mark = " *" if one.retrain else ""
        made.add_row(
            milliseconds(1e3 * one.saving_s), milliseconds(1e3 * one.cost_s), one.saving_word,
            where + more, f"{one.rule}: {one.change}{mark}",
        )  # fmt: skip
    return made
