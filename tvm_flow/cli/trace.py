"""``tvm-flow trace``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import (
    Input,
    Layout,
    ModelArgument,
    ModelOption,
    Sample,
    Weights,
    given_model,
)
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import count, line, notes, shape_text, shared_path, size, table

if TYPE_CHECKING:
    from tvm_flow.api.trace import TraceReport


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow trace fasternet_t0",
        "tvm-flow trace shufflenet_v2_x1_0 --input 1x3x160x160 --graph",
        "tvm-flow trace examples/digits/models.py:fasternet_digits --json",
        busy="exporting the model and running the passes",
    )(trace)


def trace(
    *,
    model: ModelArgument = None,
    model_option: ModelOption = None,
    weights: Weights = None,
    input: Input = None,
    sample: Sample = None,
    layout: Layout = "nchw",
    graph: Annotated[
        bool, typer.Option("--graph", help="List both graphs node by node as well.")
    ] = False,
) -> Answer:
    """Show what the passes make of a model: operators, copies and bytes, before and after."""
    given = given_model(model, model_option, weights, input, sample)
    from tvm_flow.api.trace import trace as traced  # noqa: PLC0415 - imports TVM

    report = traced(
        given,
        layout=layout,
    )
    return Answer(report.to_json(), lambda: show(report, graph))


def _inputs(report: TraceReport) -> str:
    only = len(report.inputs) == 1 and report.inputs[0].dtype == "float32"
    return shape_text(report.input_shape) if only else " ".join(map(str, report.inputs))


def show(report: TraceReport, graph: bool = False) -> Iterable[RenderableType]:
    """The report as tables."""
    yield line(
        f"{report.model}, input {_inputs(report)}, {report.layout} at the border, "
        f"{count(report.macs)} MACs",
        "bold",
    )
    before, after = report.before.operators, report.after.operators
    operators = table("operator", ">before", ">after")
    for name in dict.fromkeys([*before, *after]):
        operators.add_row(name, str(before.get(name, "")), str(after.get(name, "")))
    operators.add_section()
    operators.add_row("all", str(sum(before.values())), str(sum(after.values())), style="bold")
    operators.add_row("of them copies", str(report.before.copies), str(report.after.copies))
    operators.add_row(
        "bytes moved", size(report.before.bytes_moved), size(report.after.bytes_moved)
    )
    yield operators
    ratio = report.before.bytes_moved / max(1, report.after.bytes_moved)
    yield line(f"{report.copies_removed} copies removed; {ratio:.1f} times fewer bytes moved\n")
    tasks = table("kernel", ">runs", ">MACs", "modules", title="Kernels to tune",
                  flexible=["modules"])  # fmt: skip
    known: set[str] = set()
    for task in report.tasks:
        other = "or " if task.parts or task.problem.key in known else ""
        known.add(task.problem.key)
        modules = shared_path(task.modules)
        tasks.add_row(
            other + task.workload.short_name,
            "" if other else str(task.count),
            count(task.macs),
            modules,
        )
    yield tasks
    yield from notes(report.notes)
    if graph:
        yield line("\nbefore", "bold")
        yield line(report.text_before)
        yield line("\nafter", "bold")
        yield line(report.text_after)
