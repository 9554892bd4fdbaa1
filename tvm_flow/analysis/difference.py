"""Why one network takes longer than another: what FLOPs promise, what the clock says, and where
the rest went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvm_flow.analysis.layers import Layer
from tvm_flow.analysis.predict import summed
from tvm_flow.analysis.report import AnalysisReport

OTHER = "other"


@dataclass(frozen=True)
class Share:
    """Of one network: MACs and seconds of some of its layers; ``time`` is measured or modelled
    where that is known of every layer, else predicted. The last four add up to it."""

    layers: int
    macs: int
    time: float
    compute: float
    bandwidth: float
    launch: float
    unexplained: float


@dataclass(frozen=True)
class Stage:
    """All layers whose output has as many pixels, ``name`` such as ``28x28``, of both networks.

    ``lost``: seconds that the second network takes beyond what its MACs would take at the first
    network's rate, less what the first itself lost there; over all stages they add up to
    :attr:`Difference.lost`. The other four split it.
    """

    name: str
    first: Share
    second: Share
    lost: float
    compute: float
    bandwidth: float
    launch: float
    unexplained: float


@dataclass(frozen=True)
class Difference:
    """``lost``: seconds of ``second.time`` beyond ``first.time`` scaled by the MACs."""

    first_model: str
    second_model: str
    first: Share
    second: Share
    stages: tuple[Stage, ...]
    time_word: str

    @property
    def flops_say(self) -> float:
        """Change of the FLOPs as a fraction: -0.3 for 30 % fewer."""
        return self.second.macs / self.first.macs - 1

    @property
    def time_says(self) -> float:
        """Change of the time as a fraction."""
        return self.second.time / self.first.time - 1

    @property
    def lost(self) -> float:
        return sum(stage.lost for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            **asdict(self),
            "flops_say": self.flops_say,
            "time_says": self.time_says,
            "lost": self.lost,
        }


def difference(first: AnalysisReport, second: AnalysisReport) -> Difference:
    """From ``first`` to ``second``, stage by stage."""
    known = first.time_s is not None and second.time_s is not None
    words = {first.time_word, second.time_word}
    one, two = (_share(report.layers, known) for report in (first, second))
    names = dict.fromkeys(_stage(layer) for layer in (*first.layers, *second.layers))
    ordered = sorted(names, key=lambda name: -_pixels(name))
    stages = [
        _compared(name, _share(_within(first, name), known), _share(_within(second, name), known),
                  one)
        for name in ordered
    ]  # fmt: skip
    word = "predicted" if not known else "measured" if words == {"measured"} else "modelled"
    return Difference(first.model, second.model, one, two, tuple(stages), word)


def _stage(layer: Layer) -> str:
    return f"{layer.image[0]}x{layer.image[1]}" if layer.image[0] else OTHER


def _pixels(name: str) -> int:
    if name == OTHER:
        return 0
    height, width = name.split("x")
    return int(height) * int(width)


def _within(report: AnalysisReport, name: str) -> list[Layer]:
    return [layer for layer in report.layers if _stage(layer) == name]


def _share(layers: Sequence[Layer], known: bool) -> Share:
    predicted = summed(layer.predicted for layer in layers)
    time = sum(layer.time_s or 0.0 for layer in layers) if known else predicted.total
    return Share(
        len(layers), sum(layer.macs for layer in layers), time, predicted.compute,
        predicted.bandwidth, predicted.launch, time - predicted.total,
    )  # fmt: skip


def _compared(name: str, first: Share, second: Share, whole: Share) -> Stage:
    """``whole``: of the first network, whose rates the second one is held against."""
    more = second.macs - first.macs

    def lost(what: str) -> float:
        rate = getattr(whole, what) / whole.macs
        return float(getattr(second, what) - getattr(first, what) - rate * more)

    return Stage(
        name, first, second, lost("time"), lost("compute"), lost("bandwidth"), lost("launch"),
        lost("unexplained"),
    )  # fmt: skip
