"""``tvm-flow compile-all``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import (
    Input,
    Layout,
    ModelArgument,
    ModelOption,
    Records,
    Sample,
    Weights,
    given_model,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.picture import ChannelOrder, Mean, Range, Resize, Std, given_picture
from tvm_flow.cli.text import line, size, table

if TYPE_CHECKING:
    from tvm_flow.api.compile_all import TargetResult
    from tvm_flow.api.compile_report import CompileReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow compile-all fasternet_t0 -o build/boards",
        "tvm-flow compile-all fasternet_t0 --targets rk3399,jetson-nano -o build/boards",
        name="compile-all",
    )(compile_all)


def compile_all(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Directory that gets one bundle per target.",
            show_default=False,
        ),
    ],
    only: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="A,B",
            help="Boards to compile for: names or .toml files.",
            show_default="every target file",
        ),
    ] = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    layout: Layout = "nchw",
    records: Records = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    channel_order: ChannelOrder = None,
    range: Range = None,
) -> Answer:
    """Compile a model for several boards, one bundle each.

    One target's failure does not lose the others. The exit code is that of the first failure.
    """
    from tvm_flow.api.compile_all import compile_all as compiled  # noqa: PLC0415

    results = compiled(
        given_model(model, model_option, weights, input, sample),
        output=output,
        targets=None if only is None else [n.strip() for n in only.split(",") if n.strip()],
        layout=layout,
        records=records,
        picture=given_picture(resize, mean, std, channel_order, range),
        on_start=lambda name: print(f"compiling for {name} ...", file=sys.stderr, flush=True),
    )
    code = next((result.error.exit_code for result in results if result.error), 0)
    return Answer([result.to_json() for result in results], lambda: show(results, output), code)


def _verdict(report: CompileReport) -> str:
    """Of what this machine cannot run."""
    kernels = report.foreign_kernels
    if kernels is None or not kernels.passed:
        return "built, not run here"
    return f"{kernels.passed} of {kernels.total} kernels verified {kernels.how}"


def show(results: Sequence[TargetResult], output: Path) -> Iterable[RenderableType]:
    """One line per target, every error in full, and where the bundles are."""
    made = table("target", "result", ">kernels tuned", ">library", ">runtime", ">bundle")
    for result in results:
        if report := result.report:
            verdict = "checked" if report.verified else _verdict(report)
            made.add_row(
                result.target, verdict, f"{report.tuned} of {report.kernels}",
                size(report.library_bytes), size(report.runtime_bytes), size(report.total_bytes),
            )  # fmt: skip
        else:
            made.add_row(result.target, "FAILED", "", "", "", "", style="red")
    yield made
    for result in results:
        if result.error:
            yield line(f"{result.target}: {result.error}", "red")
        elif result.report:
            for note in result.report.notes:
                if "not run here" not in note:
                    yield line(f"{result.target}: {note}", "yellow")
    if any(result.report for result in results):
        yield line(f"written to {output}/TARGET; copy it to the board, then there: ./install.sh")
