"""``tvm-flow tracker``."""

from __future__ import annotations

from typing import Annotated

import typer

from tvm_flow.cli.command import Answer, verb
from tvm_flow.cli.text import say
from tvm_flow.support.address import DEFAULT_PORT, Address, parse_host
from tvm_flow.support.without_torch import without_torch


def register(app: typer.Typer) -> None:
    verb(app, "tvm-flow tracker", "tvm-flow tracker --host 0.0.0.0 --port 9190")(tracker)


def tracker(
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="P", min=1, max=65535, help="Port to listen on.")
    ] = DEFAULT_PORT,
) -> Answer:
    """Run the tracker that boards register with and tuners ask for them, until Ctrl-C.

    It listens on this machine only unless told otherwise: whoever reaches it can take boards and
    run code on them.
    """
    with without_torch():
        from tvm_flow.api.tracker import serve  # noqa: PLC0415 - imports TVM

    address = Address(parse_host(host), port)
    if not address.is_local:
        say(f"warning: everybody who reaches {address} can run code on the boards; use it in a "
             "network you trust only")  # fmt: skip
    told = f"ADDRESS_OF_THIS_MACHINE:{port}" if address.is_wildcard else address
    say(f"tracker on {address}; boards register with --tracker {told}")
    serve(address)
    return Answer({}, lambda: [])
