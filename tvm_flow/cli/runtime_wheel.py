"""``tvm-flow runtime-wheel``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tvm_flow.cli.arguments import Libc, Target
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, size


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow runtime-wheel --target rk3399 -o build",
        "tvm-flow runtime-wheel --target raspberry-pi-4 --libc musl",
        name="runtime-wheel",
        busy="building",
    )(runtime_wheel)


def runtime_wheel(
    target: Target = "native",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write the wheel into.")
    ] = Path(),
    libc: Libc = None,
) -> Answer:
    """Make a wheel that runs bundles on a board, for any Python from 3.6 on.

    A bundle has the same package inside; the wheel is for boards that run many bundles.
    """
    from tvm_flow.api.runtime_wheel import runtime_wheel as made  # noqa: PLC0415

    path = made(target, output=output, libc=libc)
    told = {"path": str(path), "bytes": path.stat().st_size}
    return Answer(told, lambda: [line(f"{path}, {size(path.stat().st_size)}")])
