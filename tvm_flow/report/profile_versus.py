"""Two bundles kernel by kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tvm_flow.report.profile import KernelTime, ProfileReport


@dataclass(frozen=True)
class KernelPair:
    """Kernels of the first bundle and those of the second that compute the same modules; either
    may be several, where one bundle fuses more, or none. ``modules``: all they compute."""

    first: tuple[KernelTime, ...]
    second: tuple[KernelTime, ...]
    modules: tuple[str, ...]

    @property
    def first_us(self) -> float:
        return sum(kernel.microseconds for kernel in self.first)

    @property
    def second_us(self) -> float:
        return sum(kernel.microseconds for kernel in self.second)

    @property
    def difference_us(self) -> float:
        return self.second_us - self.first_us


@dataclass(frozen=True)
class ProfileComparison:
    """``pairs`` in the order of the first bundle's kernels."""

    first: ProfileReport
    second: ProfileReport
    pairs: tuple[KernelPair, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; see docs/analysis.md."""
        return {
            "first": self.first.to_json(),
            "second": self.second.to_json(),
            "pairs": [
                {
                    **asdict(pair),
                    "first_us": pair.first_us,
                    "second_us": pair.second_us,
                    "difference_us": pair.difference_us,
                }
                for pair in self.pairs
            ],
        }


def compare_profiles(first: ProfileReport, second: ProfileReport) -> ProfileComparison:
    """Match the kernels of two profiles: those that share a PyTorch module belong together, and of
    kernels without one those that compute the same, in order."""
    keys = [*_keys(first.kernels), *_keys(second.kernels)]
    kernels = [*first.kernels, *second.kernels]
    count = len(first.kernels)
    groups = _joined(keys)
    pairs = [
        KernelPair(
            tuple(kernels[n] for n in group if n < count),
            tuple(kernels[n] for n in group if n >= count),
            tuple(dict.fromkeys(path for n in group for path in kernels[n].modules)),
        )
        for group in groups
    ]
    return ProfileComparison(first, second, tuple(pairs))


def _keys(kernels: Sequence[KernelTime]) -> list[list[Hashable]]:
    """What each kernel is recognised by: one of these in common is enough."""
    seen: Counter[str] = Counter()
    found: list[list[Hashable]] = []
    for kernel in kernels:
        if kernel.modules:
            found.append(list(kernel.modules))
        else:
            found.append([(kernel.problem, seen[kernel.problem])])
            seen[kernel.problem] += 1
    return found


def _joined(keys: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Numbers of entries that have a key in common, directly or through others."""
    root = list(range(len(keys)))

    def find(n: int) -> int:
        while root[n] != n:
            n = root[n]
        return n

    owner: dict[Hashable, int] = {}
    for number, names in enumerate(keys):
        for name in names:
            other = find(owner.setdefault(name, number))
            one = find(number)
            root[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for number in range(len(keys)):
        groups.setdefault(find(number), []).append(number)
    return list(groups.values())
