"""``tvm-flow profile``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

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
from tvm_flow.cli.text import line, shared_path, size, table

if TYPE_CHECKING:
    from tvm_flow.api.profile import MemoryReport, ProfileReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow profile build/t0",
        "tvm-flow profile fasternet_t0 --threads 1 --memory",
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
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs to time.")] = 50,
    target: Target = "native",
    threads: Threads = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
) -> Answer:
    """Show where the time of a compiled network goes, kernel by kernel and module by module."""
    given = given_model(model, model_option, weights, input, sample)
    from tvm_flow.api.profile import profile as profiled  # noqa: PLC0415 - imports torch

    report = profiled(
        given,
        target=target,
        threads=threads,
        runs=runs,
        memory=memory,
        records=records,
    )
    return Answer(report.to_json(), lambda: show(report))


def show(report: ProfileReport) -> Iterable[RenderableType]:
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
    if report.memory:
        yield _memory(report.memory)
    if not report.valid:
        yield line(f"NOT VALID: {report.reason}", "bold red")


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
