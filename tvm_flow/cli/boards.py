"""``tvm-flow boards list|check``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from tvm_flow.cli.arguments import complete_target
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, say, table
from tvm_flow.support.address import DEFAULT_TRACKER
from tvm_flow.support.errors import BoardError

if TYPE_CHECKING:
    from tvm_flow.api.farm import BoardInfo, Farm, Probe

Tracker = Annotated[str, typer.Option("--tracker", metavar="HOST:PORT", help="The tracker to ask.")]
#: Seconds of silence from which a board is shown as silent: ours says something every 2 s.
_SILENT_S = 15.0


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Boards of a tracker: who is there, and how they are.")
    verb(group, "tvm-flow boards list", "tvm-flow boards list --json", name="list")(show)
    verb(group, "tvm-flow boards check rk3399", busy="measuring ...")(check)

    @group.callback(invoke_without_command=True)
    def default(context: typer.Context, tracker: Tracker = DEFAULT_TRACKER) -> None:
        """Boards of a tracker: who is there, and how they are. Alone: ``list``."""
        if context.invoked_subcommand is None:
            from tvm_flow.cli.command import emit  # noqa: PLC0415

            emit(show(tracker), as_json=False)

    app.add_typer(group, name="boards")


def show(tracker: Tracker = DEFAULT_TRACKER) -> Answer:
    """List the boards: free or busy, temperature, clock, last seen."""
    from tvm_flow.api.farm import boards  # noqa: PLC0415

    farm = boards(tracker)
    return Answer({"tracker": tracker, **_to_json(farm)}, lambda: _rows(farm, tracker))


def check(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="What the boards are registered as.", autocompletion=complete_target
        ),
    ],
    tracker: Tracker = DEFAULT_TRACKER,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="NAME|FILE",
            help="Their kind, where the key is not its name.",
            show_default=False,
        ),
    ] = None,
) -> Answer:
    """A round trip to every board of a key: upload a kernel, run it, compare, measure the noise.

    Exits with 11 if one of them is not fit to be measured on.
    """
    from tvm_flow.api.farm import check_boards  # noqa: PLC0415

    probes = check_boards(key, tracker=tracker, target=target, on_wait=say)
    bad = sum(bool(probe.trouble) for probe in probes)
    data = {"key": key, "boards": [{**vars(probe), "advice": probe.advice} for probe in probes]}
    return Answer(data, lambda: _probes(probes), BoardError.exit_code if bad else 0)


def _to_json(farm: Farm) -> dict[str, Any]:
    return {
        "boards": [vars(board) for board in farm.boards],
        "free": farm.free,
        "waiting": farm.waiting,
    }


def _rows(farm: Farm, tracker: str) -> Iterable[RenderableType]:
    if not farm.boards:
        yield line(f"no board is registered with {tracker}; docs/boards.md tells how")
        return
    shown = table("key", "board", "state", ">°C", ">MHz", ">sessions", ">seen")
    for board in sorted(farm.boards, key=lambda b: (b.key, b.name, b.address)):
        shown.add_row(*_cells(board))
    yield shown
    for key, waiting in sorted(farm.waiting.items()):
        if waiting:
            yield line(f"{waiting} client(s) wait for {key}")


def _cells(board: BoardInfo) -> list[str]:
    clocks = [clock for clock in board.health.get("mhz") or [] if clock]
    celsius = board.health.get("temperature_c")
    return [
        board.key,
        board.label,
        _state(board),
        f"{celsius:.0f}" if celsius is not None else "-",
        f"{min(clocks):.0f}" if clocks else "-",
        "-" if board.sessions is None else f"{board.sessions} ({board.crashes or 0} crashed)",
        "-" if board.silent_s is None else f"{board.silent_s:.0f} s ago",
    ]


def _state(board: BoardInfo) -> str:
    state = "free" if board.busy is False else "busy" if board.busy else "?"
    if board.silent_s is not None and board.silent_s > _SILENT_S:
        state = "silent"
    return f"{state}, emulated" if board.emulated else state


def _probes(probes: list[Probe]) -> Iterable[RenderableType]:
    shown = table("board", "verdict", ">µs", ">GFLOP/s", ">p90/p10")
    for probe in probes:
        fit = "fit (emulated: times mean nothing)" if probe.emulated else "fit"
        verdict = "NOT fit, see below" if probe.trouble else fit
        times = ["-", "-", "-"]
        if probe.seconds and probe.noise and probe.gflops and not probe.emulated:
            times = [f"{1e6 * probe.seconds:.1f}", f"{probe.gflops:.1f}", f"{probe.noise:.2f}"]
        shown.add_row(probe.name or probe.address, verdict, *times)
    yield shown
    for probe in (probe for probe in probes if probe.trouble):  # too long for a column
        yield line(f"{probe.name or probe.address} is not fit: {probe.trouble}", "bold red")
    for probe in (probe for probe in probes if not probe.emulated):
        for text in probe.advice:
            yield line(f"{probe.name or probe.address}: {text}")
