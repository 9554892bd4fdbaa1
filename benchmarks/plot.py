"""A plain chart of a few falling curves as SVG, readable on light and dark pages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 64, 16, 40, 48
COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df")
_TICKS = 6


@dataclass(frozen=True)
class Curve:
    """``points``: (x, y) in rising order of x; each y holds until the next x. May be empty: then
    only the title is shown."""

    title: str
    points: Sequence[tuple[float, float]]


def svg(title: str, x_label: str, y_label: str, curves: Sequence[Curve]) -> str:
    """The chart; both axes begin at zero."""
    x_step = nice_step(max((x for c in curves for x, _ in c.points), default=1.0))
    y_step = nice_step(max((y for c in curves for _, y in c.points), default=1.0))
    x_end, y_end = x_step * _TICKS, y_step * _TICKS
    plot_w, plot_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + plot_w * x / x_end, TOP + plot_h * (1 - y / y_end)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, title, "middle", size=15),
        _text(LEFT + plot_w / 2, HEIGHT - 10, x_label, "middle"),
        f'<g transform="rotate(-90 16 {TOP + plot_h / 2})">'
        f"{_text(16, TOP + plot_h / 2, y_label, 'middle')}</g>",
    ]
    for i in range(_TICKS + 1):
        (left, y), (x, bottom) = at(0, i * y_step), at(i * x_step, 0)
        parts += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#d0d7de"/>',
            _text(left - 6, y + 4, f"{i * y_step:g}", "end"),
            _text(x, bottom + 18, f"{i * x_step:g}", "middle"),
        ]
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        if curve.points:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in _steps(curve.points)))
            parts.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        row = TOP + 16 + 20 * number
        parts.append(_text(WIDTH - RIGHT - 8, row, curve.title, "end", colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def nice_step(largest: float) -> float:
    """Smallest of 1, 2, 2.5, 5 times a power of ten that reaches ``largest`` in six steps."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest / _TICKS))
    return next(f * power for f in (1, 2, 2.5, 5, 10) if f * power * _TICKS >= largest * (1 - 1e-9))


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    steps = [points[0]]
    for (_, before), (x, y) in itertools.pairwise(points):
        steps += [(x, before), (x, y)]
    return steps


def _text(
    x: float, y: float, text: str, anchor: str, *, size: int = 13, colour: str = "#1f2328"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
