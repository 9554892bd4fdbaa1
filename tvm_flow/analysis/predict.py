"""What a kernel should take on a machine, from the machine's peaks and not from its own time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from tvm_flow.analysis.work import Work

MEASURED, DATA_SHEET = "measured", "data sheet"


@dataclass(frozen=True)
class Level:
    """``gbps``: GB/s of one core from data that takes ``footprint`` bytes together."""

    footprint: int
    gbps: float


@dataclass(frozen=True)
class Peaks:
    """What ``threads`` cores of a machine reach at most.

    ``gflops``: fp32 GFLOP/s of all threads (1 FMA = 2 FLOPs). ``levels``: bandwidth of one core by
    footprint, smallest first; between two it is interpolated. ``dram_gbps``: what all
    cores share of main memory, 0 where unknown. ``launch_s``: seconds that a call of an empty
    kernel takes. ``source``: ``"measured"`` here, or ``"data sheet"``; ``where`` in words.
    """

    threads: int
    gflops: float
    levels: tuple[Level, ...]
    dram_gbps: float
    launch_s: float
    source: str
    where: str

    def gbps(self, footprint: float) -> float:
        """Of all threads together, from data that takes ``footprint`` bytes."""
        first, last = self.levels[0], self.levels[-1]
        if footprint >= last.footprint:
            most = self.dram_gbps or math.inf
            return min(most, self.threads * last.gbps)
        one = first.gbps
        for low, high in pairwise(self.levels):
            if low.footprint <= footprint < high.footprint:
                part = math.log(footprint / low.footprint) / math.log(
                    high.footprint / low.footprint
                )
                one = low.gbps * (high.gbps / low.gbps) ** part
        return self.threads * one

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Prediction:
    """Seconds. ``compute``: the arithmetic at the peak rate; ``bandwidth``: what moving the data
    takes longer than that, as both go on at once; ``launch``: the call."""

    compute: float
    bandwidth: float
    launch: float

    @property
    def total(self) -> float:
        return self.compute + self.bandwidth + self.launch

    @property
    def limit(self) -> str:
        """What most of the time goes to: ``compute``, ``bandwidth`` or ``launch``."""
        return max(asdict(self), key=lambda name: getattr(self, name))


def transfer_s(work: Work, peaks: Peaks, resident: int) -> float:
    """Seconds that moving a kernel's data takes. ``resident``: bytes of all weights of the network,
    between two uses of which all the others are read. Data that one kernel leaves to the next are
    in the cache that holds both and the weights."""
    near = work.moved
    weights = 1e-9 * work.weights / peaks.gbps(max(resident, near))
    return weights + 1e-9 * (work.read + work.written) / peaks.gbps(near)


def roofline_s(macs: int, work: Work, peaks: Peaks, resident: int) -> float:
    """Seconds by the roofline model (Williams et al., CACM 2009): the direct algorithm at the peak
    rate, or every argument once from where it lies, whichever is longer."""
    return max(2e-9 * macs / peaks.gflops, transfer_s(work, peaks, resident))


def predict(work: Work, peaks: Peaks, resident: int) -> Prediction:
    """What a call should take; unlike the roofline with all arithmetic, that of activations and
    of padding too, of the algorithm that is used, and with the call itself."""
    compute = 2e-9 * work.slots / peaks.gflops
    exposed = max(0.0, transfer_s(work, peaks, resident) - compute)
    return Prediction(compute, exposed, peaks.launch_s)


def summed(predictions: Iterable[Prediction]) -> Prediction:
    """Of kernels that run one after the other."""
    found = list(predictions)
    return Prediction(
        sum(p.compute for p in found), sum(p.bandwidth for p in found), sum(p.launch for p in found)
    )
