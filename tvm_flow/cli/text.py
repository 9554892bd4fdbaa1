"""Tables and phrases the verbs share; everything fits 80 columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text


def table(*columns: str, title: str | None = None, flexible: Sequence[str] = ()) -> Table:
    """A table; a column whose name begins with ``>`` is right-aligned. ``flexible`` columns give
    way where 80 characters are too few; the others are never cut."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
                 pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    for column in columns:
        name = column.removeprefix(">")
        side: Literal["left", "right"] = "right" if column != name else "left"
        made.add_column(name, justify=side, no_wrap=name not in flexible, overflow="ellipsis")
    return made


def line(text: str, style: str = "") -> Text:
    """A line that wraps between words and is never cut."""
    return Text(text, style=style, overflow="fold")


def say(text: str) -> None:
    """Tell at once what goes on meanwhile; results are printed at the end."""
    print(text, file=sys.stderr, flush=True)


def notes(items: Iterable[str]) -> list[Text]:
    return [line(f"note: {item}", "yellow") for item in items]


def count(number: float) -> str:
    """``335.4M`` for 335422720."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f}{unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes in MB (10^6), or kB where that is too coarse."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.3f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} us"


def milliseconds(time: float) -> str:
    """A time in milliseconds with three digits or more."""
    return f"{time:.4f}" if time < 0.1 else f"{time:.3f}" if time < 10 else f"{time:.2f}"


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def shared_path(modules: Sequence[str]) -> str:
    """The longest path several PyTorch modules share: ``a.b`` for ``a.b.c`` and ``a.b.d``."""
    paths = [module.replace(".", "/") for module in modules]
    return os.path.commonpath(paths).replace("/", ".") if paths else ""
