"""Phases of a transposed convolution: which taps make which outputs.

Output number ``s * q + r`` along an axis of stride s depends on r, its phase, in which taps reach
it, and on q in where these find their inputs: tap ``a`` at input ``q + (r + p - a * d) / s``, if
that is whole. So each phase is an ordinary convolution of stride 1 with the taps that reach it, and
its outputs lie s apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.operators.conv_transpose import TransposedShape


@dataclass(frozen=True)
class Phase:
    """Outputs ``first``, ``first + s``, ... along one axis, ``count`` of them.

    ``taps``: of the kernel, in the order of the inputs they read: for output q those at
    ``q + offset``, ``q + offset + step``, ...
    """

    first: int
    count: int
    taps: tuple[int, ...]
    offset: int
    step: int

    @property
    def last(self) -> int:
        """Offset of the last input that output 0 reads."""
        return self.offset + self.step * max(0, len(self.taps) - 1)


def phases_of(size: int, k: int, s: int, p: int, d: int) -> list[Phase]:
    """The phases of an axis with ``size`` outputs."""
    found = []
    for r in range(min(s, size)):
        taps = tuple(a for a in reversed(range(k)) if (r + p - a * d) % s == 0)
        offset = (r + p - taps[0] * d) // s if taps else 0
        found.append(Phase(r, -(-(size - r) // s), taps, offset, d // gcd(d, s)))
    return found


@dataclass(frozen=True)
class ColumnGroup:
    """Phases of the columns that are computed together, as output channels of one convolution:
    neighbouring columns of an NHWC tensor are neighbours in memory."""

    phases: tuple[Phase, ...]

    @property
    def first(self) -> int:
        return self.phases[0].first

    @property
    def count(self) -> int:
        return self.phases[0].count

    @property
    def offset(self) -> int:
        return min((p.offset for p in self.phases if p.taps), default=0)

    @property
    def step(self) -> int:
        return self.phases[0].step

    @property
    def width(self) -> int:
        """Taps of the window, those of which all weights of a phase are zero included."""
        reached = [p for p in self.phases if p.taps]
        if not reached:
            return 0
        return (max(p.last for p in reached) - self.offset) // self.step + 1

    def matrix(self, weight: Array, rows: Phase) -> Array:
        """[co, ci, kh, kw] -> [taps of ``rows`` * width * ci, phases * co]."""
        co, ci = weight.shape[:2]
        made = np.zeros((len(rows.taps), self.width, ci, len(self.phases), co), weight.dtype)
        for number, phase in enumerate(self.phases):
            start = (phase.offset - self.offset) // self.step
            for at, b in enumerate(phase.taps):
                for row, a in enumerate(rows.taps):
                    made[row, start + at, :, number] = weight[:, :, a, b].T
        return made.reshape(-1, len(self.phases) * co)

    def taps(self, weight: Array, rows: Phase) -> Array:
        """[c, 1, kh, kw] -> [taps of ``rows`` * taps of the only phase of columns, c]."""
        (columns,) = self.phases
        chosen = weight[:, 0][:, rows.taps][:, :, columns.taps]
        return np.ascontiguousarray(chosen.reshape(len(weight), -1).T)


def column_groups(s: TransposedShape, lanes: int) -> list[ColumnGroup]:
    """All phases in one group where that takes fewer vector products, else one each.

    Together they fill vectors that few output channels would not, but each is multiplied by the
    window of all. Of several groups of channels each has its own place in a pixel.
    """
    found = phases_of(s.ow, s.kw, s.sw, s.pw, s.dw)
    alone = [ColumnGroup((phase,)) for phase in found]
    if s.groups > 1 or s.dw != 1 or s.ow % s.sw:
        return alone
    together = ColumnGroup(tuple(found))
    apart = sum(group.width for group in alone) * Panels(s.co, lanes).count
    joined = together.width * Panels(s.sw * s.co, lanes).count
    return [together] if joined <= apart else alone


def row_phases(s: TransposedShape) -> list[Phase]:
    """The phases of the rows."""
    return phases_of(s.oh, s.kh, s.sh, s.ph, s.dh)
