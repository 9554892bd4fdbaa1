"""``tvm-flow emulate``."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer

from tvm_flow.cli.arguments import Key, TargetArgument
from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import line, say

#: What ends the verb in the usual way.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def register(app: typer.Typer) -> None:
    verb(
        app,
        "tvm-flow emulate rk3399",
        "tvm-flow emulate raspberry-pi-4 --count 2 --tracker 127.0.0.1:9190",
    )(emulate)


def emulate(
    target: TargetArgument,
    tracker: Annotated[
        str, typer.Option("--tracker", metavar="HOST:PORT", help="Tracker to register with.")
    ] = "127.0.0.1:9190",
    key: Key = None,
    count: Annotated[int, typer.Option("--count", metavar="N", help="How many of them.")] = 1,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            metavar="P",
            help="Port of the first, the others take the next ones; 0 takes free ones.",
        ),
    ] = 0,
) -> Answer:
    """Emulate boards with QEMU, for trying out a farm without one.

    Runs until Ctrl-C. The boards' server, their code and their results are the real ones; times
    measured on them say nothing about any board. The first start builds the server.
    """
    from tvm_flow.api.emulate import emulate as emulated  # noqa: PLC0415
    from tvm_flow.api.emulate import prepare  # noqa: PLC0415

    prepare(target, tracker, count, port)  # Ctrl-C still interrupts this
    stop = threading.Event()
    for number in _STOPS:
        signal.signal(number, lambda *_: stop.set())
    report = emulated(target, stop=stop, tracker=tracker, key=key, count=count, port=port, say=say)
    stopped = f"stopped {report.boards} emulated board(s)"
    return Answer(report.to_json(), lambda: [line(stopped)])
