"""How a function becomes a verb: examples in its help, ``--json``, ``--debug``, one answer."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document instead of tables.", rich_help_panel="Output"
    ),
]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the traceback of an error as well.", rich_help_panel="Output"
    ),
]


@dataclass(frozen=True)
class Answer:
    """What a verb says: ``data`` as JSON (or a function that makes it), or what ``shown`` makes
    for people to read."""

    data: Any
    shown: Callable[[], Iterable[RenderableType]]
    exit_code: int = 0


Body = Callable[..., Answer]


def verb(
    app: typer.Typer, *examples: str, name: str | None = None, busy: str = ""
) -> Callable[[Body], Body]:
    """Register a function that returns an :class:`Answer`. Its docstring is the help.

    ``examples`` are shown below the options; ``busy`` is what a terminal reads meanwhile.
    """

    def register(body: Body) -> Body:
        def command(*, as_json: bool, debug: bool, **arguments: Any) -> None:
            # what libraries print must not get into the document
            with _status(busy), redirect_stdout(sys.stderr):
                answer = body(**arguments)
            emit(answer, as_json=as_json)
            raise typer.Exit(answer.exit_code)

        _adopt(command, body)
        epilog = "\n".join(["[bold]Examples[/bold]", *(f"  {line}" for line in examples)])
        app.command(name or body.__name__, epilog=epilog)(command)
        return body

    return register


def _adopt(command: Callable[..., None], body: Body) -> None:
    """Give ``command`` the parameters of ``body`` and the common ones, for typer to read."""
    own = inspect.signature(body, eval_str=True).parameters.values()
    common = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("as_json", Json), ("debug", Debug))
    ]
    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = inspect.Signature([*keyword_only, *common])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*keyword_only, *common]}
    command.__doc__, command.__name__ = _unwrapped(body.__doc__ or ""), body.__name__


def _unwrapped(text: str) -> str:
    """Every paragraph on one line: the terminal is to break it, and not where the source does."""
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))


def emit(answer: Answer, *, as_json: bool) -> None:
    """Print an answer to standard output."""
    if as_json:
        with redirect_stdout(sys.stderr):
            data = answer.data() if callable(answer.data) else answer.data
        print(json.dumps(data, indent=1, allow_nan=False))
        return
    from rich.console import Console  # noqa: PLC0415 - not needed for --json

    console = Console(highlight=False)
    for part in answer.shown():
        console.print(part)


def _status(text: str) -> AbstractContextManager[Any]:
    if not text or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    return Console(stderr=True).status(text)
