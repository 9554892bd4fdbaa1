"""Is a board fit to be measured on? Temperature, clock and throttling before and after."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

#: °C. Above the first we wait until it is below the second; boards throttle from 80 to 85.
HOT_C, COOL_C = 75.0, 65.0
COOLING_S = 60.0
#: A core below this share of its highest clock, under a governor that should hold it there.
_SLOW = 0.95
_LOOK_S = 1.0


class Throttled(Exception):
    """The board was too hot, or its clock too low, for its times to mean anything."""


class TellsStatus(Protocol):
    """What :class:`tvm_flow.remote.session.BoardSession` offers of it."""

    def status(self) -> dict[str, Any]:
        """Empty where the board tells nothing."""


def require_steady(
    session: TellsStatus, *, cooling_s: float = COOLING_S
) -> Callable[[TellsStatus], None]:
    """Wait until the board is cool; the result, called after measuring, looks again.

    Both raise :class:`Throttled`. What a board does not tell is not judged.
    """
    deadline = time.monotonic() + cooling_s
    before = session.status()
    if (before.get("temperature_c") or 0.0) > HOT_C:
        while (before.get("temperature_c") or 0.0) > COOL_C:
            if time.monotonic() > deadline:
                raise Throttled(
                    f"it is at {before['temperature_c']:.0f} °C and did not cool to "
                    f"{COOL_C:.0f} °C within {cooling_s:.0f} s"
                )
            time.sleep(_LOOK_S)
            before = session.status()

    def after(session: TellsStatus) -> None:
        cause = throttling(before, session.status())
        if cause:
            raise Throttled(cause)

    return after


def throttling(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Why times taken between two statuses are not to be believed, or an empty text."""
    first, last = (status.get("throttle_events") for status in (before, after))
    if first is not None and last is not None and last > first:
        return f"it throttled {last - first} time(s) while measuring"
    governors = {name for name in after.get("governor") or [] if name}  # null: not told
    if governors != {"performance"}:  # others change the clock on purpose
        return ""
    pairs = zip(after.get("mhz") or [], after.get("max_mhz") or [], strict=False)
    for now, most in pairs:
        if now and most and now < _SLOW * most:
            return f"a core runs at {now:.0f} of {most:.0f} MHz under the performance governor"
    return ""


def advice(status: dict[str, Any]) -> list[str]:
    """What its owner could do for steadier times, one line each."""
    lines = []
    governors = {name for name in status.get("governor") or [] if name}
    if governors - {"performance"}:
        lines.append(
            f"its governor is {', '.join(sorted(governors))}: clocks change while measuring; "
            "cpupower frequency-set -g performance holds them"
        )
    if (status.get("temperature_c") or 0.0) > HOT_C:
        lines.append(f"it is at {status['temperature_c']:.0f} °C: it needs cooling")
    if (status.get("load1") or 0.0) > 0.5:
        lines.append(f"other programs run on it (load {status['load1']:.1f})")
    return lines
