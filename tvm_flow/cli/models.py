"""``tvm-flow models``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import input_spec
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, table


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow models",
        "tvm-flow models --costs",
        "tvm-flow models --costs --input 1x3x160x160 --json",
        name="models",
        busy="looking at the zoo",
    )(list_models)


def list_models(
    costs: Annotated[
        bool, typer.Option("--costs", help="Count parameters and multiply-accumulates too.")
    ] = False,
    input: Annotated[
        str, typer.Option("--input", metavar="SHAPE", help="Input shape for --costs.")
    ] = "1x3x224x224",
) -> Answer:
    """List the networks of the zoo."""
    from tvm_flow import models  # noqa: PLC0415 - imports torch

    size = input_spec(input).shape
    rows: list[dict[str, Any]] = [{"name": name} for name in models.NAMES]
    if costs:
        for row in rows:
            network = models.outline(row["name"])
            row["parameters"] = models.count_parameters(network)
            row["macs"] = models.count_macs(network, size)
    return Answer(rows, lambda: _show(rows, input if costs else ""))


def _show(rows: list[dict[str, Any]], input: str) -> Iterable[RenderableType]:
    if input:
        made = table("model", ">parameters", f">MACs at {input}")
        for row in rows:
            macs = f"{row['macs'] / 1e6:.1f} M"
            made.add_row(row["name"], f"{row['parameters'] / 1e6:.2f} M", macs)
        yield made
    else:
        for row in rows:
            yield line(row["name"])
    yield line("\nYour own: path/to/file.py:factory, model.pt2, model.onnx or TorchScript.", "dim")
