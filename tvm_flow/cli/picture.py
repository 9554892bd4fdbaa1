"""The options of pictures, and how their text is read."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tvm_flow.api.picture import Picture
from tvm_flow.support.errors import UsageError

_PANEL = "Pictures (by default as ImageNet's)"
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"

Resize = Annotated[
    int | None,
    typer.Option(
        "--resize",
        metavar="N",
        help="Resize the shorter side to N pixels; the input is cut out of the middle.",
        show_default="256 for an input of 224",
        rich_help_panel=_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="A,B,C",
        help="Subtract these from the channels; with --std.",
        show_default="ImageNet's; 0 for gray",
        rich_help_panel=_PANEL,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std",
        metavar="A,B,C",
        help="Divide the channels by these; with --mean.",
        show_default="ImageNet's; 1 for gray",
        rich_help_panel=_PANEL,
    ),
]
ChannelOrder = Annotated[
    str | None,
    typer.Option(
        "--channel-order",
        metavar="rgb|bgr",
        help="Order of the input's channels, and of --mean and --std.",
        show_default="rgb",
        rich_help_panel=_PANEL,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="1|255",
        help="What white is before --mean and --std.",
        show_default="1",
        rich_help_panel=_PANEL,
    ),
]


def given_picture(
    resize: int | None,
    mean: str | None,
    std: str | None,
    channel_order: str | None,
    range: str | None,
) -> Picture | None:
    """What a command line says of pictures; ``None`` for nothing. Raises :class:`UsageError`."""
    if all(text is None for text in (resize, mean, std, channel_order, range)):
        return None
    return Picture(
        resize=resize,
        mean=None if mean is None else _numbers("--mean", mean),
        std=None if std is None else _numbers("--std", std),
        order=(channel_order or "rgb").lower(),
        range=1.0 if range is None else _number("--range", range),
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    return tuple(_number(option, part) for part in text.split(","))


def _number(option: str, text: str) -> float:
    """Raises :class:`UsageError`, also for NaN and infinity, which Python would read."""
    if not re.fullmatch(_NUMBER, text.strip(), re.IGNORECASE):
        example = "1" if option == "--range" else "0.485,0.456,0.406"
        raise UsageError(
            f"{text!r} is no number",
            why=f"{option} was given it",
            fix=f"write it like {option} {example}",
        )
    return float(text)
