"""``tvm-flow profile``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import (
    Input,
    ModelOption,
    Records,
    Sample,
    Target,
    Threads,
    Weights,
    given_model,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import count, line, shared_path, size, table
from tvm_flow.support.errors import UsageError

if TYPE_CHECKING:
    from tvm_flow.api.profile import MemoryReport, ProfileComparison, ProfileReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow profile build/t0",
        "tvm-flow profile fasternet_t0 --threads 1 --memory",
        "tvm-flow profile build/t0 --trace build/t0-trace.json",
        "tvm-flow profile build/t0 --versus build/t0-untuned",
        "tvm-flow profile build/t0 --runs 200 --json",
        busy="profiling",
    )(profile)


def profile(
    *,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR|MODEL",
            help="A bundle, or a model to compile for the purpose.",
            show_default=False,
        ),
    ] = None,
    model_option: ModelOption = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Memory plan and peak memory as well.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write a trace for ui.perfetto.dev or chrome://tracing.",
            show_default=False,
        ),
    ] = None,
    versus: Annotated[
        str | None,
        typer.Option(
            "--versus",
            metavar="DIR|MODEL",
            help="Set the kernels of this one beside them.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs to time.")] = 50,
    target: Target = "native",
    threads: Threads = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
) -> Answer:
    """Show where the time of a compiled network goes, kernel by kernel and module by module.

    With --versus, two of them kernel by kernel. Hardware counters are shown where the system lets
    them be read."""
    given = given_model(model, model_option, weights, input, sample)
    if versus is not None and (trace or memory):
        raise UsageError(
            "--versus shows two bundles, --trace and --memory one", fix="leave one of them away"
        )
    from tvm_flow.api import profile as api  # noqa: PLC0415 - imports torch

    options: dict[str, Any] = {
        "target": target, "threads": threads, "runs": runs, "records": records,
    }  # fmt: skip
    if versus is not None:
        both = api.profile_versus(given, versus, **options)
        return Answer(both.to_json(), lambda: show_versus(both))
    report = api.profile(given, memory=memory, **options)
    if trace is not None:
        api.write_trace(report, trace)
    return Answer(report.to_json(), lambda: show(report, trace))


def show(report: ProfileReport, trace: Path | None = None) -> Iterable[RenderableType]:
    """Kernels in execution order, modules by time, and the memory."""
    yield line(f"{report.model} on {report.target}, {report.threads} thread(s)", "bold")
    yield line(f"whole network: {report.total}")
    made = table("kernel", "module", ">us", ">share", ">GFLOP/s", ">peak", "source",
                 flexible=["module"])  # fmt: skip
    for kernel in report.kernels:
        made.add_row(
            kernel.symbol,
            shared_path(kernel.modules),
            f"{kernel.microseconds:.1f}",
            f"{100 * kernel.share:.1f} %",
            f"{kernel.gflops:.1f}" if kernel.gflops else "-",
            f"{100 * kernel.peak_share:.0f} %" if kernel.peak_share else "-",
            kernel.source,
        )
    yield made
    yield line(f"kernels {report.kernels_us:.0f} us, the rest {report.overhead_us:.0f} us\n")
    modules = table("module", ">us", title="By module")
    for name, microseconds in report.by_module().items():
        modules.add_row(name, f"{microseconds:.1f}")
    yield modules
    if report.counters:
        yield _counters(report.counters)
    if report.memory:
        yield _memory(report.memory)
    if trace is not None:
        yield line(f"trace in {trace}: open it in https://ui.perfetto.dev")
    if not report.valid:
        yield line(f"NOT VALID: {report.reason}", "bold red")


def show_versus(both: ProfileComparison) -> Iterable[RenderableType]:
    """Kernels side by side, and the sums."""
    first, second = both.first, both.second
    for name, report in (("first", first), ("second", second)):
        yield line(f"{name}: {report.model} on {report.target}, {report.threads} thread(s), "
                   f"whole network {report.total}")  # fmt: skip
    made = table("module", "first", "second", ">us", ">to", ">change",
                 flexible=["module", "first", "second"])  # fmt: skip
    for pair in both.pairs:
        made.add_row(
            shared_path(pair.modules),
            " ".join(kernel.symbol for kernel in pair.first) or "-",
            " ".join(kernel.symbol for kernel in pair.second) or "-",
            f"{pair.first_us:.1f}", f"{pair.second_us:.1f}", f"{pair.difference_us:+.1f}",
        )  # fmt: skip
    made.add_section()
    made.add_row(
        "all", "", "", f"{first.kernels_us:.1f}", f"{second.kernels_us:.1f}",
        f"{second.kernels_us - first.kernels_us:+.1f}", style="bold",
    )  # fmt: skip
    yield made
    for name, report in (("first", first), ("second", second)):
        if not report.valid:
            yield line(f"NOT VALID: {name}: {report.reason}", "bold red")


def _counters(counters: dict[str, float]) -> RenderableType:
    made = table("event", ">per run, calling thread", title="Counters")
    for name, value in counters.items():
        made.add_row(name.replace("_", " "), count(value) if value >= 10 else f"{value:.2f}")
    if counters.get("cycles") and "instructions" in counters:
        made.add_row("instructions per cycle",
                     f"{counters['instructions'] / counters['cycles']:.2f}")  # fmt: skip
    return made


def _memory(report: MemoryReport) -> RenderableType:
    made = table("memory", ">size", title="Memory")
    rows = {
        "weights, beside the library": report.weights,
        "intermediate tensors, in shared memory": report.arena,
        "the same with one buffer per tensor": report.unshared,
        "inputs and outputs": report.inputs + report.outputs,
        "library file": report.library,
        "peak of a process that runs the bundle": report.peak_rss,
        "of that: interpreter and runtime alone": report.baseline_rss,
    }
    for name, value in rows.items():
        made.add_row(name, size(value))
    return made
