"""What the rounds of an interleaved timing add up to, and whether it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tvm_flow.measure.core_distance import spread_complaint
from tvm_flow.measure.load_probe import clock_complaint
from tvm_flow.runtime.timing import Timing, summarise


@dataclass(frozen=True)
class Ratio:
    """Median and 10th/90th percentile of a ratio of times over the rounds."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True)
class Measurement:
    """Result of interleaved rounds.

    ``rounds``: per competitor the median time in seconds of every kept round, in round order, so
    that entries of one index were taken one after the other. ``valid`` is false where the rounds
    were disturbed; ``reason`` then says by what.
    ``cache_line_ns``: see :mod:`tvm_flow.measure.core_distance`; before each round, disturbed ones
    too, and after the last. Empty for a single core, and where it could not be measured.
    """

    timings: dict[str, Timing]
    rounds: dict[str, list[float]]
    disturbed_rounds: int
    valid: bool
    reason: str
    cache_line_ns: tuple[float, ...]

    def ratio(self, slow: str, fast: str) -> Ratio:
        """time(slow) / time(fast), taken round by round."""
        pairs = zip(self.rounds[slow], self.rounds[fast], strict=True)
        low, middle, high = np.percentile([a / b for a, b in pairs], [10, 50, 90])
        return Ratio(float(middle), float(low), float(high))


@dataclass
class Round:
    """Times in seconds of each competitor, with what disturbed them and the clocks after each."""

    times: dict[str, list[float]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    clocks: list[int | None] = field(default_factory=list)


def measurement(
    names: list[str],
    clean: list[Round],
    disturbed: list[Round],
    wanted: int,
    cache_line_ns: Sequence[float] = (),
) -> Measurement:
    """Sum up ``clean`` rounds; with the ``disturbed`` ones if there are fewer than ``wanted``, and
    then not valid."""
    enough = len(clean) >= wanted
    kept = clean if enough else clean + disturbed
    reasons = []
    if not enough:
        causes = sorted({text for taken in disturbed for text in taken.complaints})
        reasons.append(
            f"{len(disturbed)} of {len(clean) + len(disturbed)} rounds were disturbed, "
            f"for example: {causes[0]}"
        )
    if complaint := clock_complaint(clock for taken in kept for clock in taken.clocks):
        reasons.append(complaint)
    if complaint := spread_complaint(cache_line_ns):
        reasons.append(complaint)
    return Measurement(
        timings={name: summarise([t for r in kept for t in r.times[name]]) for name in names},
        rounds={name: [float(np.median(r.times[name])) for r in kept] for name in names},
        disturbed_rounds=len(disturbed),
        valid=not reasons,
        reason="; ".join(reasons),
        cache_line_ns=tuple(round(value, 1) for value in cache_line_ns),
    )
