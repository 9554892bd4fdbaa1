"""All verbs of ``tvm-flow``."""

from __future__ import annotations

from typing import Annotated

import typer

from tvm_flow import __version__
from tvm_flow.cli import (
    advise,
    analyze,
    board_kit,
    boards,
    check,
    compare,
    compile,
    compile_all,
    demo,
    doctor,
    emulate,
    models,
    profile,
    records,
    run,
    runtime_wheel,
    targets,
    trace,
    tracker,
    tune,
)

EXIT_CODES = """[bold]Exit codes[/bold]
  0 success; 1 other failures; 2 usage or target; 3 model; 4 tuning records;
  5 nothing measured; 6 compilation or output; 7 bundle; 8 wrong numbers;
  9 no timing possible; 10 installation; 11 board or tracker; 70 a bug in tvm-flow; 130 Ctrl-C"""

app = typer.Typer(
    name="tvm-flow",
    help="Compile and tune PConv/ShuffleNet-style PyTorch networks for small boards with TVM.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tvm-flow {__version__}")
        raise typer.Exit


@app.callback()
def tvm_flow(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Compile and tune PConv/ShuffleNet-style PyTorch networks for small boards with TVM."""


for _module in (doctor, targets, models, trace, analyze, advise, tune, compile, compile_all, run,
                check, compare, profile, records, tracker, boards, board_kit, runtime_wheel,
                emulate, demo):  # fmt: skip
    _module.register(app)
