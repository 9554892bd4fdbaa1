"""``tvm-flow run``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import BundleArgument, Threads
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, table
from tvm_flow.support.errors import UsageError

if TYPE_CHECKING:
    from tvm_flow.api.run import RunReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow run build/t0 --input photo.jpg",
        "tvm-flow run build/t0 --runs 100 --threads 1",
        "tvm-flow run build/t0 --input tensor.npy --save logits.npy",
    )(run)


def run(
    *,
    bundle: BundleArgument,
    input: Annotated[
        list[Path] | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="Picture, .npy or .bin; once per input of the network, by default its sample.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="Classes to print.")] = 5,
    runs: Annotated[
        int, typer.Option("--runs", metavar="N", help="Time so many runs as well.")
    ] = 0,
    threads: Threads = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE.npy",
            help="Write the output; further ones to FILE_2.npy and so on.",
            show_default=False,
        ),
    ] = None,
) -> Answer:
    """Run a bundle on one input and print the top classes."""
    from tvm_flow.api.run import run as ran  # noqa: PLC0415

    if top < 1 or runs < 0:
        raise UsageError(f"Cannot print {top} classes or time {runs} runs", fix="--top 5 --runs 50")
    if save is not None and save.suffix != ".npy":
        raise UsageError(f"{save} does not end in .npy", fix=f"--save {save.with_suffix('.npy')}")
    report = ran(bundle, *(input or ()), top=top, runs=runs, threads=threads)
    if save is not None:
        report.save(save)
    return Answer(report.to_json(), lambda: show(report))


def show(report: RunReport) -> Iterable[RenderableType]:
    """Top classes and times."""
    made = table(">probability", ">index", "class", flexible=["class"])
    for index, probability, name in report.top:
        made.add_row(f"{100 * probability:.2f} %", str(index), name)
    yield made
    if report.timing:
        yield line(f"{report.model}, {report.threads} thread(s), fp32: {report.timing}")
