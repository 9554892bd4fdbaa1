"""Knobs that were chosen for a workload, and whoever chooses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Workload


@dataclass(frozen=True)
class Choice:
    """Knobs for a workload and where they come from: ``source`` is "tuned", then ``record_sha``,
    ``label`` and ``seconds`` are those of the record, or "default"."""

    knobs: Knobs
    source: str
    record_sha: str | None = None
    label: str | None = None
    seconds: float | None = None


Chooser = Callable[[Workload], Choice]
