"""``tvm-flow board-kit``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import Key, TargetArgument, Threads
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, notes, size

if TYPE_CHECKING:
    from tvm_flow.api.board_kit import Kit


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow board-kit rk3399 -o build/kit",
        "tvm-flow board-kit my_board.toml --key shelf-3 -o build/kit",
        name="board-kit",
        busy="building the server",
    )(board_kit)


def board_kit(
    target: TargetArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Kit to write. One that exists is replaced in one step.",
            show_default=False,
        ),
    ],
    key: Key = None,
    threads: Threads = None,
) -> Answer:
    """Make what a board needs to join a farm: server, libraries, service, installer.

    Copy the directory to the board and run install.sh there. The first kit for an architecture
    builds the server and downloads TVM's runtime for it, which takes minutes.
    """
    from tvm_flow.api.board_kit import board_kit as made  # noqa: PLC0415

    kit = made(target, output=output, key=key, threads=threads)
    return Answer(kit.to_json(), lambda: show(kit))


def show(kit: Kit) -> Iterable[RenderableType]:
    """The kit, and what to do with it."""
    yield line(f"board kit for {kit.board}, key {kit.key}", "bold")
    yield line(f"{size(kit.size)}, for {kit.arch} with glibc {kit.glibc} or newer")
    yield from notes(kit.notes)
    yield line(f"written to {kit.path}; copy it to the board, then there:")
    yield line("  sudo TRACKER=HOST:PORT ./install.sh --listen ADDRESS-OF-THE-BOARD")
