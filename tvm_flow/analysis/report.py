"""What ``analyze`` finds out about one network on one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm_flow.analysis.layers import MEASURED, Layer, prediction_json
from tvm_flow.analysis.predict import Peaks, Prediction, summed
from tvm_flow.ir.generic import GenericOperator


@dataclass(frozen=True)
class WholeRun:
    """Measured seconds of whole runs: 10th percentile and median; ``overhead_s`` of the latter is
    not in any kernel. ``valid`` and ``reason`` as in a profile."""

    p10_s: float
    median_s: float
    overhead_s: float
    valid: bool
    reason: str


@dataclass(frozen=True)
class AnalysisReport:
    """A network on a target, layer by layer.

    ``parameters``: of the whole network, batch norms included (``folded`` where the model is not a
    PyTorch module: weights and biases after folding). ``whole``: measured runs, where the target is
    this machine. ``generic``: operators that no kernel computes, whose MACs are in ``macs`` and in
    no layer.
    """

    model: str
    target: str
    threads: int
    peaks: Peaks
    layers: tuple[Layer, ...]
    parameters: int
    folded: bool
    generic: tuple[GenericOperator, ...]
    whole: WholeRun | None
    notes: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers) + sum(o.macs for o in self.generic)

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def access(self) -> int:
        return sum(layer.access for layer in self.layers)

    @property
    def access_bytes(self) -> int:
        return sum(layer.access_bytes for layer in self.layers)

    @property
    def moved(self) -> int:
        return sum(layer.moved for layer in self.layers)

    @property
    def intensity(self) -> float:
        """FLOPs per byte moved."""
        return self.flops / self.moved if self.moved else 0.0

    @property
    def roofline_s(self) -> float:
        return sum(layer.roofline_s for layer in self.layers)

    @property
    def predicted(self) -> Prediction:
        return summed(layer.predicted for layer in self.layers)

    @property
    def time_s(self) -> float | None:
        """Sum over the kernels; ``None`` where the time of one is unknown."""
        times = [layer.time_s for layer in self.layers]
        return None if None in times else sum(time for time in times if time is not None)

    @property
    def time_word(self) -> str:
        """Whether :attr:`time_s` is measured or modelled; a sum of both is modelled."""
        words = {layer.time_word for layer in self.layers}
        return MEASURED if words == {MEASURED} else "modelled" if self.time_s else ""

    @property
    def unexplained_s(self) -> float | None:
        """What the kernels take longer (or, negative, shorter) than predicted."""
        return None if self.time_s is None else self.time_s - self.predicted.total

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        whole = self.whole
        return {
            "model": self.model,
            "target": self.target,
            "threads": self.threads,
            "peaks": self.peaks.to_json(),
            "parameters": self.parameters,
            "parameters_folded": self.folded,
            "macs": self.macs,
            "flops": self.flops,
            "access_elements": self.access,
            "access_bytes": self.access_bytes,
            "moved_bytes": self.moved,
            "intensity": self.intensity,
            "roofline_s": self.roofline_s,
            "predicted": prediction_json(self.predicted),
            "time_s": self.time_s,
            "time": self.time_word,
            "unexplained_s": self.unexplained_s,
            "whole_run": None
            if whole is None
            else {
                "p10_s": whole.p10_s,
                "median_s": whole.median_s,
                "overhead_s": whole.overhead_s,
                "valid": whole.valid,
                "reason": whole.reason,
            },
            "generic": [
                {"operator": o.operator, "modules": list(o.modules), "macs": o.macs}
                for o in self.generic
            ],
            "layers": [layer.to_json() for layer in self.layers],
            "notes": list(self.notes),
        }
