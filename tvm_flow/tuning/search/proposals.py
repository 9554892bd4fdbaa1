"""Proposes the next candidates of one task: default, diverse, then what the model ranks first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.tuning.records.record import FrozenKnobs, freeze
from tvm_flow.tuning.search.cost_model import CostModel, Features

#: Spaces up to this size are ranked whole, greater ones are searched by evolution.
ENUMERABLE = 20_000
_POPULATION = 256
_GENERATIONS = 6
_PROMISING = 8  # times the batch: the best of the ranking, from which a batch is made
_FEW = 4  # random candidates of which the farthest from the others is taken
_SAMPLES = 512  # random candidates among which diverse ones are looked for


class Search:
    """State of the search in one space. Nothing is proposed twice.

    Parameters
    ----------
    space: every knob with its choices.
    default: proposed first.
    features: what the cost model is told about candidates.
    seen: choices that were tried in earlier runs.
    """

    def __init__(
        self,
        space: Space,
        default: Knobs,
        features: Features,
        *,
        seen: Iterable[FrozenKnobs] = (),
        seed: int = 0,
    ) -> None:
        self.space = {name: list(dict.fromkeys(space[name])) for name in sorted(space)}
        self.size = prod(len(choices) for choices in self.space.values())
        self.features = features
        self._default = default
        self._seen = set(seen)
        self._rng = np.random.default_rng(seed)
        #: what is left of a space that is ranked whole
        self._left = dict(self._untried()) if self.size <= ENUMERABLE else None
        self._dry = False

    @property
    def exhausted(self) -> bool:
        return self._dry or self._left == {}

    def propose(
        self, count: int, model: CostModel, good: list[Knobs], epsilon: float
    ) -> list[Knobs]:
        """Up to ``count`` new candidates; fewer (or none) once the space runs out.

        ``good`` are the best known so far, best first; ``epsilon`` is the share of the batch
        that is random even though a model exists.
        """
        batch: list[Knobs] = []
        if freeze(self._default) not in self._seen:
            self._take([self._default], 1, batch)
        if model.knows(self.features):
            adventurous = int(self._rng.binomial(count, epsilon))
            candidates = (
                self._evolve(model, good) if self._left is None else list(self._left.values())
            )
            greedy = count - len(batch) - adventurous
            promising = self._ranked(candidates, model, _PROMISING * count)
            self._take(promising, (greedy + 1) // 2, batch)
            # The first places often differ in what does not matter: look around them as well.
            self._take(self._diverse(promising, good + batch), greedy // 2, batch)
        candidates = self._quick(self._random(_SAMPLES), model, count)
        self._take(self._diverse(candidates, good + batch), count - len(batch), batch)
        self._dry = not batch
        return batch

    def _take(self, candidates: Iterable[Knobs], count: int, batch: list[Knobs]) -> None:
        for knobs in candidates:
            if count <= 0:
                return
            key = freeze(knobs)
            if key not in self._seen:
                self._seen.add(key)
                if self._left is not None:
                    self._left.pop(key, None)
                batch.append(dict(knobs))
                count -= 1

    def _untried(self) -> Iterable[tuple[FrozenKnobs, Knobs]]:
        """All of the space but what was tried in earlier runs."""
        for choice in product(*self.space.values()):
            knobs = dict(zip(self.space, choice, strict=True))
            key = freeze(knobs)
            if key not in self._seen:
                yield key, knobs

    def _random(self, count: int) -> list[Knobs]:
        if self._left is not None:
            candidates = list(self._left.values())
            chosen = self._rng.permutation(len(candidates))[:count]
            return [candidates[int(at)] for at in chosen]
        picks = {name: self._rng.choice(choices, count) for name, choices in self.space.items()}
        return [{name: int(picks[name][row]) for name in picks} for row in range(count)]

    def _diverse(self, candidates: list[Knobs], known: list[Knobs]) -> Iterable[Knobs]:
        """Of ``candidates``, each time of a few at random, the one farthest from those before
        and from ``known``. (The farthest of all would always be a corner of the space.)"""
        if not candidates:
            return
        points = self._positions(candidates)
        distance = np.full(len(candidates), np.inf)
        for point in self._positions(known) if known else points[:1]:
            distance = np.minimum(distance, np.abs(points - point).sum(axis=1))
        left = list(range(len(candidates)))
        while left:
            few = self._rng.choice(left, min(_FEW, len(left)), replace=False)
            at = int(few[distance[few].argmax()])
            yield candidates[at]
            left.remove(at)
            distance = np.minimum(distance, np.abs(points - points[at]).sum(axis=1))

    def _positions(self, candidates: list[Knobs]) -> NDArray[np.float64]:
        """Place of each choice within its list, scaled to 0..1."""
        table = {
            name: {value: at / max(1, len(choices) - 1) for at, value in enumerate(choices)}
            for name, choices in self.space.items()
        }
        return np.array([[table[name].get(c[name], 0.5) for name in table] for c in candidates])

    def _ranked(self, candidates: list[Knobs], model: CostModel, most: int) -> list[Knobs]:
        """The ``most`` promising of ``candidates``, best first."""
        if not candidates:
            return []
        order = np.argsort(-model.score(self.features, candidates), kind="stable")
        return [candidates[int(at)] for at in order[:most]]

    def _quick(self, candidates: list[Knobs], model: CostModel, least: int) -> list[Knobs]:
        """A quarter of ``candidates``, but at least so many, drawn at random, rather
        such as are quick to build: what takes twice as long comes a quarter as often."""
        if len(candidates) <= least:
            return candidates
        weights = 4.0 ** model.thrift(self.features, candidates).astype(np.float64)
        size = max(least, len(candidates) // 4)
        chosen = self._rng.choice(len(candidates), size, replace=False, p=weights / weights.sum())
        return [candidates[int(at)] for at in chosen]

    def _evolve(self, model: CostModel, good: list[Knobs]) -> list[Knobs]:
        """Untried candidates the model likes, bred from the best known and random ones."""
        population = [*good[: _POPULATION // 4], *self._random(_POPULATION)]
        found: dict[FrozenKnobs, Knobs] = {}
        for _ in range(_GENERATIONS):
            scores = model.score(self.features, population)
            order = np.argsort(-scores, kind="stable")[: _POPULATION // 4]
            parents = [population[int(at)] for at in order]
            found |= {freeze(p): p for p in parents if freeze(p) not in self._seen}
            population = parents + self._children(parents, _POPULATION)
        return list(found.values())

    def _children(self, parents: list[Knobs], count: int) -> list[Knobs]:
        """Each knob from either of two parents, and one knob drawn anew half of the time, always
        if both parents are the same."""
        names, rng = list(self.space), self._rng
        values = np.array([[parent[name] for name in names] for parent in parents])
        pairs = rng.integers(len(parents), size=(count, 2))
        first = rng.random((count, len(names))) < 0.5
        children = np.where(first, values[pairs[:, 0]], values[pairs[:, 1]])
        anew = (rng.random(count) < 0.5) | (pairs[:, 0] == pairs[:, 1])
        which = rng.integers(len(names), size=count)
        for row in np.flatnonzero(anew):
            children[row, which[row]] = rng.choice(self.space[names[which[row]]])
        return [dict(zip(names, child, strict=True)) for child in children.tolist()]


def in_order(times: Mapping[FrozenKnobs, float]) -> list[Knobs]:
    """Choices of knobs by time, fastest first."""
    return [dict(knobs) for knobs, _ in sorted(times.items(), key=lambda item: item[1])]
