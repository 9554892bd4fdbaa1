"""How the tuner goes about its work; the defaults suit kernels of 10 µs to 10 ms."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.support.errors import UsageError

MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class TuneOptions:
    """Times in seconds.

    ``batch``: candidates proposed at a time. ``build_timeout_s``, ``trial_timeout_s``: a build or
    trial that takes longer is killed. ``prepare_timeout_s``: the same for computing a workload's
    reference once. ``trial_budget_s``: measuring time of one trial. ``tolerance``: greatest
    difference from the reference, relative to the largest output. ``epsilon``: share of a batch
    that is random. ``finalists``, ``final_rounds``: candidates per task that are measured again
    beside the default, and how often. ``give_up``: fruitless trials in a row, with not one good
    before, after which a task is given up. ``cold_bytes``: weights of the whole network, which push
    those of a kernel out of the caches between two runs; set by the tuner.
    """

    batch: int = 8
    build_timeout_s: float = 60.0
    trial_timeout_s: float = 10.0
    prepare_timeout_s: float = 120.0
    trial_budget_s: float = 0.02
    tolerance: float = 1e-4
    epsilon: float = 0.15
    finalists: int = 3
    final_rounds: int = 21
    give_up: int = 24
    cold_bytes: int = 0


def check_limits(trials: int | None, minutes: float | None) -> None:
    """Raises :class:`UsageError` for limits of a tuner run that make no sense."""
    if trials is not None and not 1 <= trials <= MOST_TRIALS:
        raise UsageError(
            f"Cannot tune with {trials} trials", fix=f"--trials 1 to {MOST_TRIALS}; 1000 is usual"
        )
    if minutes is not None and not 0 < minutes <= 60 * 24 * 30:
        raise UsageError(f"Cannot tune for {minutes} minutes", fix="--minutes above 0, up to 43200")
