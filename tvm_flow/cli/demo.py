"""``tvm-flow demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_flow.cli.command import Answer, verb
from tvm_flow.support.errors import UsageError
from tvm_flow.support.resources import checkout


def register(app: typer.Typer) -> None:
    verb(app, "tvm-flow demo", "tvm-flow demo --minutes 5")(demo)


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where everything is written.")
    ] = Path("build/demo"),
    minutes: Annotated[
        float, typer.Option("--minutes", metavar="M", help="Time for tuning.")
    ] = 0.75,
) -> Answer:
    """Do the whole job on real input: trace, tune, compile, check, compare, classify."""
    if not 0 < minutes <= 600:
        raise UsageError(f"Cannot tune for {minutes} minutes", fix="--minutes 0.75")
    root = checkout()
    if root is None:
        raise UsageError(
            "The demo needs a checkout of tvm-flow",
            why="the trained networks and pictures of its examples are not installed",
            fix="git clone the repository and run make demo there",
        )
    from tvm_flow.cli.demo_job import Demo  # noqa: PLC0415 - imports TVM and torch

    job = Demo(root, output, minutes)
    return Answer(job.finish, job.run)
