"""Where windows of pooling end, and how many elements they take the mean of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tvm_flow.ir.graph import Array


@dataclass(frozen=True)
class WindowAxis:
    """``new`` windows of ``kernel`` elements over ``old`` ones, padded by ``before`` and ``given``
    on the far side."""

    old: int
    new: int
    kernel: int
    stride: int
    before: int
    given: int
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Where the last window ends, counted from the first element."""
        window = (self.kernel - 1) * self.dilation + 1
        return (self.new - 1) * self.stride + window - self.before

    @property
    def after(self) -> int:
        """Padding on the far side; more than given where the last window is to be partial."""
        return max(self.given, self.reach - self.old)

    @property
    def gap(self) -> bool:
        """Whether there are fewer windows than would fit."""
        return self.reach + self.stride <= self.old + self.after

    def counts(self, counted: bool) -> Array:
        """Elements of each window that a mean divides by; ``counted``: those of the padding that
        was given too."""
        start = np.arange(self.new) * self.stride - self.before
        taps = start[:, None] + np.arange(self.kernel) * self.dilation
        first, end = (-self.before, self.old + self.given) if counted else (0, self.old)
        return ((taps >= first) & (taps < end)).sum(axis=1)


def mean_shares(axes: Sequence[WindowAxis], *, counted: bool) -> Array | None:
    """By how much the means over whole windows, padding included, are to be multiplied at each
    output pixel; ``None`` where that is 1 everywhere."""
    rows, columns = (axis.counts(counted) for axis in axes)
    counts = np.outer(rows, columns)
    size = axes[0].kernel * axes[1].kernel
    return None if (counts == size).all() else size / counts
