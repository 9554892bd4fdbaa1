"""Packed weight layout shared by every GEMM-like kernel.

A K x N matrix is cut along N into panels of ``lanes`` columns; the last panel is the next power
of two that holds the rest (zero padded). Panels are stored one after another, each as K rows of
its width: a microkernel reads one panel as a single forward stream. Nothing here depends on
knobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tvm_flow.schedules.contract.tensor import Array


def _tail_width(rest: int) -> int:
    """Smallest power of two >= rest, at least 2 (a one-lane panel would be scalar code)."""
    return max(2, power_of_two(rest))


def power_of_two(count: int) -> int:
    """The smallest that is not less than ``count``."""
    return 1 << (count - 1).bit_length()


@dataclass(frozen=True)
class Panels:
    """How ``n`` output channels are cut for vectors of ``lanes``."""

    n: int
    lanes: int

    @property
    def full(self) -> int:
        return self.n // self.lanes

    @property
    def tail(self) -> int:
        """Width of the last, narrower panel; 0 if there is none."""
        rest = self.n % self.lanes
        return _tail_width(rest) if rest else 0

    @property
    def padded(self) -> int:
        """Columns stored, including zero padding."""
        return self.full * self.lanes + self.tail

    @property
    def count(self) -> int:
        return self.full + (1 if self.tail else 0)

    def width(self, index: int) -> int:
        return self.lanes if index < self.full else self.tail

    def valid(self, index: int) -> int:
        """Columns of panel ``index`` that exist."""
        return self.lanes if index < self.full else self.n % self.lanes


def pack_matrix(matrix: Array, lanes: int) -> Array:
    """K x N -> flat panels, K * padded elements of the same type."""
    k, n = matrix.shape
    panels = Panels(n, lanes)
    parts = []
    for index in range(panels.count):
        panel = np.zeros((k, panels.width(index)), matrix.dtype)
        panel[:, : panels.valid(index)] = matrix[:, index * lanes : index * lanes + lanes]
        parts.append(panel.reshape(-1))
    return np.ascontiguousarray(np.concatenate(parts))


def pack_vector(vector: Array, lanes: int) -> Array:
    """N -> padded N of the same type (bias in the panels' order)."""
    panels = Panels(vector.shape[0], lanes)
    out = np.zeros(panels.padded, vector.dtype)
    out[: panels.n] = vector
    return out


def balanced(total: int, largest: int) -> list[tuple[int, int]]:
    """Cut ``total`` into the fewest parts of at most ``largest``, sizes differing by at most one.

    Returns (size, how many) pairs, larger size first: 15 with at most 8 is [(8, 1), (7, 1)].
    """
    parts = -(-total // largest)
    size, bigger = -(-total // parts), total % parts
    if bigger == 0:
        return [(size, parts)]
    return [(size, bigger), (size - 1, parts - bigger)]


def even_rows(rows: int, most: int, threads: int, images: int = 1) -> int:
    """Rows per tile, at most ``most``, with which ``threads`` get done soonest: the greatest such
    number. 56 rows on two threads are 7 or 14 per tile: with 8, one would have four of seven tiles.
    """
    if threads == 1:
        return balanced(rows, most)[0][0]

    def busiest(size: int) -> int:
        return -(-images * -(-rows // size) // threads) * size

    return min(range(1, min(most, rows) + 1), key=lambda size: (busiest(size), -size))
