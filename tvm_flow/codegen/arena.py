"""Places for intermediate tensors in one block of memory, those that are never needed together in
the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Lifetime:
    """``size`` bytes from step ``first`` to step ``last``, both included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def place_in_arena(lifetimes: Sequence[Lifetime], alignment: int) -> tuple[list[int], int]:
    """An offset for each, a multiple of ``alignment``, and the bytes of the arena.

    The largest first, each at the lowest place that is free during its life: "greedy by size" of
    Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference
    (arXiv 2001.03288), section 5.2.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for number in sorted(range(len(lifetimes)), key=lambda n: -lifetimes[n].size):
        life, offset = lifetimes[number], 0
        others = (n for n in placed if lifetimes[n].overlaps(life))
        for other in sorted(others, key=lambda n: offsets[n]):
            if offset + life.size <= offsets[other]:
                break
            end = offsets[other] + lifetimes[other].size
            offset = max(offset, _aligned(end, alignment))
        offsets[number] = offset
        placed.append(number)
    sizes = (offset + life.size for offset, life in zip(offsets, lifetimes, strict=True))
    return offsets, max(sizes, default=0)


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
