"""``tvm-flow compile``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.api.picture import described
from tvm_flow.cli.arguments import (
    Input,
    Layout,
    Libc,
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
from tvm_flow.cli.picture import ChannelOrder, Mean, Range, Resize, Std, given_picture
from tvm_flow.cli.text import line, notes, size
from tvm_flow.support.errors import UsageError

if TYPE_CHECKING:
    from tvm_flow.api.compile import CompileReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow compile fasternet_t0 -o build/t0",
        "tvm-flow compile resnet18 --weights resnet18.pth --threads 2 -o build/resnet18",
        "tvm-flow compile fasternet_t0 --target rk3399 -o build/t0-rk3399",
        "tvm-flow compile fasternet_t0 --single-file -o build/t0.so",
        "tvm-flow compile fasternet_t0 -o build/t0 --dump build/t0-dump",
        "tvm-flow compile net.onnx --resize 232 --mean .5,.5,.5 --std .5,.5,.5 -o build/net",
        busy="compiling",
    )(compile)


def compile(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Bundle or library to write. One that exists is replaced in one step.",
            show_default=False,
        ),
    ] = None,
    target: Target = "native",
    threads: Threads = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    layout: Layout = "nchw",
    records: Records = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Class names, one per line, to store in the bundle.",
            show_default=False,
        ),
    ] = None,
    resize: Resize = None,
    mean: Mean = None,
    std: Std = None,
    channel_order: ChannelOrder = None,
    range: Range = None,
    runner: Annotated[
        bool,
        typer.Option(
            "--runner/--no-runner", help="Include the program that runs it, and an installer."
        ),
    ] = True,
    libc: Libc = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="bundle; single-file: one library with everything inside, behind tvm_flow.h; "
            "tvm: a library for TVM's own virtual machine.",
        ),
    ] = "bundle",
    single_file: Annotated[
        bool, typer.Option("--single-file", help="The same as --format single-file.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Refuse a network with operators that have no kernel and run slowly."
        ),
    ] = False,
    dump: Annotated[
        Path | None,
        typer.Option(
            "--dump",
            metavar="DIR",
            help="Write the graph after each pass, and each kernel's TIR and assembly.",
            show_default=False,
        ),
    ] = None,
) -> Answer:
    """Compile a model into a bundle: code, weights, sample, and the runtime for C and Python.

    Uses the best tuning record of every kernel, and the default schedule where there is none. The
    bundle is run and compared with PyTorch before it is put in place.
    """
    from tvm_flow.api.compile import compile as compiled  # noqa: PLC0415 - imports TVM

    given = given_model(model, model_option, weights, input, sample)
    if output is None:
        raise UsageError("No output is named", fix=f"add -o build/{Path(str(given.source)).stem}")
    report = compiled(
        given,
        output=output,
        target=target,
        threads=threads,
        layout=layout,
        records=records,
        labels=read_labels(labels) if labels else None,
        picture=given_picture(resize, mean, std, channel_order, range),
        runner=runner,
        libc=libc,
        format="single-file" if single_file else format,
        strict=strict,
        dump=dump,
    )
    return Answer(report.to_json(), lambda: show(report))


def read_labels(path: Path) -> list[str]:
    """Lines of a text file. Raises :class:`UsageError`."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the labels in {path}", why=str(error), fix="name a UTF-8 text file"
        ) from error


def show(report: CompileReport) -> Iterable[RenderableType]:
    """The report in a few lines."""
    yield line(f"{report.model} for {report.target}, {report.threads} thread(s)", "bold")
    folders = [str(path) for path in (report.committed_records, report.records) if path]
    yield line(
        f"{report.tuned} of {report.kernels} kernels tuned (records: {' and '.join(folders)}), "
        f"library {size(report.library_bytes)}"
    )
    runtime = f", of that runtime {size(report.runtime_bytes)}"
    if report.runtime_bytes:
        yield line(f"bundle {size(report.total_bytes)}{runtime}")
    if report.picture:
        yield line(described(report.picture))
    yield line(str(report.graph), "green")
    if report.verified:
        yield line(f"checked against {report.reference}: {report.verified}", "green")
    if report.samples:
        yield line(str(report.samples), "green")
    if kernels := report.foreign_kernels:
        yield line(str(kernels), "green" if kernels.passed == kernels.total else "yellow")
    yield from notes(report.notes)
    share = 100 * report.verifying / report.seconds
    yield line(
        f"written to {report.path} in {report.seconds:.1f} s, {share:.0f} % of that to compare"
    )
