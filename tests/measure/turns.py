"""A whole race in one call."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tvm_flow.measure.rounds import Measurement
from tvm_flow.measure.timing import ROUND_S, Contestant, Race


def interleaved(
    contestants: Mapping[str, Contestant],
    inputs: Mapping[str, np.ndarray],
    *,
    rounds: int = 20,
    threads: int = 1,
    round_s: float = ROUND_S,
) -> Measurement:
    """Start all ``contestants``, give each its input, and time them in turns.

    ``round_s``: seconds each competitor runs in one round (at least three runs).
    """
    with Race(contestants, threads=threads) as race:
        for name, array in inputs.items():
            race.outputs_of(name, array)
        return race.measure(rounds, round_s)
