"""``tvm-flow analyze``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

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
from tvm_flow.cli.text import count, line, notes, shared_path, size, table

if TYPE_CHECKING:
    from tvm_flow.api.analyze import AnalysisReport, Comparison


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow analyze fasternet_t0",
        "tvm-flow analyze fasternet_t0 --target rk3399",
        "tvm-flow analyze resnet18 --versus pconv_resnet18 --threads 1",
        "tvm-flow analyze shufflenet_v2_x1_0 --json",
        busy="compiling and measuring",
    )(analyze)


def analyze(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    versus: Annotated[
        str | None,
        typer.Option(
            "--versus",
            metavar="MODEL2",
            help="Explain the difference to this model, stage by stage.",
            show_default=False,
        ),
    ] = None,
    measure_peaks: Annotated[
        bool,
        typer.Option("--measure-peaks", help="Measure this machine's peaks anew."),
    ] = False,
    runs: Annotated[int, typer.Option("--runs", metavar="N", help="Runs to time.")] = 50,
    target: Target = "native",
    threads: Threads = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    records: Records = None,
) -> Answer:
    """Show why a network is fast or slow: what each kernel computes and moves, what that should
    take by the target's peaks, and what it takes.

    With --versus, where the difference between two networks comes from."""
    given = given_model(model, model_option, weights, input, sample)
    from tvm_flow.api import analyze as api  # noqa: PLC0415 - imports torch

    options: dict[str, Any] = {
        "target": target, "threads": threads, "runs": runs, "records": records,
        "measure_peaks": measure_peaks,
    }  # fmt: skip
    if versus is None:
        report = api.analyze(given, **options)
        return Answer(report.to_json(), lambda: show(report))
    both = api.analyze_both(given, given_model(versus, None, None, input, None), **options)
    return Answer(both.to_json(), lambda: show_comparison(both))


def show(report: AnalysisReport) -> Iterable[RenderableType]:
    """What the layers are, what they should take and take, and the sums."""
    yield line(f"{report.model} on {report.target}, {report.threads} thread(s)", "bold")
    yield line(
        f"{count(report.parameters)} parameters, {count(report.macs)} MACs = "
        f"{count(report.flops)} FLOPs"
    )
    yield line(f"peaks: {report.peaks.gflops:.1f} GFLOP/s, {report.peaks.where}\n")
    yield _work(report)
    yield line("")
    yield _time(report)
    yield line("")
    yield from _sums(report)
    yield from notes(report.notes)


def _work(report: AnalysisReport) -> RenderableType:
    made = table(">", "kernel", ">param", ">MACs", ">access", ">moved", ">FLOP/B",
                 title="What each kernel computes and moves",
                 flexible=["kernel"])  # fmt: skip
    for number, layer in enumerate(report.layers):
        made.add_row(
            str(number), layer.kernel, _some(layer.parameters), _some(layer.macs),
            size(layer.access_bytes), size(layer.moved),
            f"{layer.intensity:.1f}" if layer.macs else "-",
        )  # fmt: skip
    made.add_section()
    made.add_row(
        "", "all", count(report.parameters), count(report.macs), size(report.access_bytes),
        size(report.moved), f"{report.intensity:.1f}", style="bold",
    )  # fmt: skip
    return made


def _some(number: int) -> str:
    return count(number) if number else "-"


def _time(report: AnalysisReport) -> RenderableType:
    made = table(">", "module", ">roofline", ">compute", ">bandw.", ">launch", ">predicted",
                 f">{report.time_word or 'time'}", title="What it should take, and takes, in us",
                 flexible=["module"])  # fmt: skip
    for number, layer in enumerate(report.layers):
        p = layer.predicted
        times = (layer.roofline_s, p.compute, p.bandwidth, p.launch, p.total, layer.time_s)
        name = shared_path(layer.modules) or layer.symbol
        made.add_row(str(number), name, *map(_us, times))
    p = report.predicted
    times = (report.roofline_s, p.compute, p.bandwidth, p.launch, p.total, report.time_s)
    made.add_section()
    made.add_row("", "all", *map(_us, times), style="bold")
    return made


def _us(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e6 * seconds:.1f}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


def _sums(report: AnalysisReport) -> Iterable[RenderableType]:
    p = report.predicted
    yield line(
        f"predicted {_ms(p.total)}: compute {_ms(p.compute)}, bandwidth {_ms(p.bandwidth)}, "
        f"launch {_ms(p.launch)}"
    )
    if report.time_s is not None and report.unexplained_s is not None:
        part = 100 * report.unexplained_s / report.time_s
        yield line(
            f"{report.time_word} {_ms(report.time_s)} in kernels, of it unexplained "
            f"{_ms(report.unexplained_s)} ({part:+.0f} %)"
        )
    if report.whole is not None:
        yield line(
            f"whole runs: {_ms(report.whole.p10_s)}, median {_ms(report.whole.median_s)}, outside "
            f"of kernels {_ms(report.whole.overhead_s)}"
        )
        if not report.whole.valid:
            yield line(f"NOT VALID: {report.whole.reason}", "bold red")
    for o in report.generic:
        yield line(f"without a kernel: {o.count} {o.operator}, {count(o.macs)} MACs")


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f} ms"


def show_comparison(both: Comparison) -> Iterable[RenderableType]:
    """What FLOPs say, what the time says, and where it went."""
    d = both.difference
    first, second = d.first, d.second
    yield line(f"from {d.first_model} to {d.second_model} on {both.first.target}, "
               f"{both.first.threads} thread(s)", "bold")  # fmt: skip
    yield line(f"FLOPs say {_percent(d.flops_say)}: {count(2 * first.macs)} to "
               f"{count(2 * second.macs)}")  # fmt: skip
    yield line(f"the time says {_percent(d.time_says)}: {_ms(first.time)} to {_ms(second.time)} "
               f"({d.time_word})")  # fmt: skip
    yield line(f"lost against the FLOPs: {_ms(d.lost)}\n")
    made = table("output", ">MACs", ">to", ">ms", ">to", ">lost", ">compute", ">bandw.", ">launch",
                 ">other", title="Where it went, by size of the output, in ms")  # fmt: skip
    for stage in d.stages:
        made.add_row(
            stage.name, _some(stage.first.macs), _some(stage.second.macs),
            *(f"{1e3 * t:.3f}" for t in (stage.first.time, stage.second.time)),
            *(f"{1e3 * t:+.3f}" for t in (stage.lost, stage.compute, stage.bandwidth, stage.launch,
                                          stage.unexplained)),
        )  # fmt: skip
    yield made
    yield line(
        "\nlost: beyond what the second's MACs would take at the first's rate; compute: padding, "
        "activations and what else is no MAC, or fewer products by Winograd; other: unexplained by "
        "the peaks"
    )
    for report in (both.first, both.second):
        if report.whole is not None and not report.whole.valid:
            yield line(f"NOT VALID: {report.model}: {report.whole.reason}", "bold red")
        yield from notes(f"{report.model}: {note}" for note in report.notes)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:+.0f} %"
