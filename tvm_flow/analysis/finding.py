"""What advice consists of: a layer, what it costs, what to change, and what that would save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm_flow.analysis.layers import Layer
from tvm_flow.analysis.predict import Peaks, predict, summed
from tvm_flow.analysis.work import work_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.device import Cpu

#: Words of a saving: by the peaks of the machine, or by timing the changed layer as well.
MODELLED, MEASURED = "modelled", "measured"


@dataclass(frozen=True)
class Change:
    """What one rule says of neighbouring ``layers``. ``after``: problems that would take their
    place, or empty where they would go altogether; ``fraction``: of the layers' time, where the
    saving is no matter of other problems; ``per_mac``: what counts is the time of as many
    multiply-accumulates. ``retrain``: whether the network computes something else
    then."""

    rule: str
    layers: tuple[Layer, ...]
    text: str
    after: tuple[Problem, ...] = ()
    fraction: float | None = None
    per_mac: bool = False
    retrain: bool = True

    @property
    def scale(self) -> float:
        """What the time of :attr:`after` is multiplied with before it is compared."""
        if not self.per_mac:
            return 1.0
        after = sum(registry.operator(problem.op).macs(problem) for problem in self.after)
        return sum(layer.macs for layer in self.layers) / after


@dataclass(frozen=True)
class Finding:
    """``cost_s``: seconds of its layers now, ``cost_word`` as of :attr:`Layer.time_word`, or
    ``"predicted"``. ``saving_s``: seconds; ``saving_word``: ``"modelled"`` or ``"measured"``.
    ``before`` and ``after``: workloads of one of the ``count`` places, whose seconds are summed;
    the time of ``after`` counts ``scale`` times, where as many MACs are compared."""

    rule: str
    symbols: tuple[str, ...]
    modules: tuple[str, ...]
    cost_s: float
    cost_word: str
    change: str
    saving_s: float
    saving_word: str
    retrain: bool
    before: tuple[str, ...]
    after: tuple[str, ...]
    scale: float = 1.0
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            "rule": self.rule,
            "symbols": list(self.symbols),
            "modules": list(self.modules),
            "cost_s": self.cost_s,
            "cost": self.cost_word,
            "change": self.change,
            "saving_s": self.saving_s,
            "saving": self.saving_word,
            "retrain": self.retrain,
            "before": list(self.before),
            "after": list(self.after),
            "scale": self.scale,
            "count": self.count,
        }


def finding(change: Change, device: Cpu, peaks: Peaks, resident: int) -> Finding:
    """A change with what it would save by the peaks: as much of the layers' time as the prediction
    gets shorter."""
    after = tuple(first_way(problem, device) for problem in change.after)
    cost, word = _cost(change.layers)
    before = summed(layer.predicted for layer in change.layers).total
    fraction = change.fraction
    if fraction is None:
        then = summed(predict(work_of(way, device), peaks, resident) for way in after).total
        fraction = 1 - change.scale * then / before if before else 0.0
    return Finding(
        rule=change.rule,
        symbols=tuple(layer.symbol for layer in change.layers),
        modules=tuple(path for layer in change.layers for path in layer.modules),
        cost_s=cost,
        cost_word=word,
        change=change.text,
        saving_s=fraction * cost,
        saving_word=MODELLED,
        retrain=change.retrain,
        before=tuple(layer.workload for layer in change.layers if layer.workload),
        after=tuple(way.key for way in after),
        scale=change.scale,
    )


def first_way(problem: Problem, device: Cpu) -> Workload:
    """By the algorithm that is taken without measurements."""
    return Workload(problem, registry.algorithms(problem, device)[0].name)


def _cost(layers: Sequence[Layer]) -> tuple[float, str]:
    times = [layer.time_s for layer in layers]
    if None in times:
        return summed(layer.predicted for layer in layers).total, "predicted"
    words = {layer.time_word for layer in layers}
    known = sum(time for time in times if time is not None)
    return known, words.pop() if len(words) == 1 else MODELLED
