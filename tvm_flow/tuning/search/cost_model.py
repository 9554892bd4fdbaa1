"""Predicts which candidates are fast, and which are slow to build, from all trials of all tasks.

Gradient-boosted trees (XGBoost) learn the throughput of a candidate relative to the best of its
task. One model serves all tasks: its features say how knobs and shape fit each other (remainders
and padding of every dimension under every knob), which carries over from one shape to the next.

A second model of the same kind learns how long candidates take to build: of one task some take far
longer than others, for their code is longer, and are no faster on average. What is proposed is
therefore what promises most for the time it costs (decision 0018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.schedules.contract.algorithm import Space
from tvm_flow.schedules.contract.problem import Workload

Matrix = NDArray[np.float32]
Candidates = Sequence[Mapping[str, int]]
#: Features of a task, what was tried, and what came of each: a number to learn.
Lesson = tuple["Features", Candidates, NDArray[np.float64]]
_FEWEST = 12  # trials below which the model would only repeat noise
_PARAMETERS = {
    "objective": "reg:squarederror",
    "max_depth": 4,
    "eta": 0.25,
    "subsample": 0.9,
    "min_child_weight": 2,
    "verbosity": 0,
}
_ROUNDS = 60
#: Speed, as a share of the best, that makes up for twice the time to build.
_PER_DOUBLING = 0.07


class Features:
    """Features of candidates of one workload; columns are named, so that tasks can be mixed. What
    was learnt of one algorithm of an operator helps with another that has the same knobs."""

    def __init__(self, workload: Workload, space: Space) -> None:
        self._knobs = sorted(space)
        problem = workload.problem
        self._op = op = problem.op
        integers = {k: v for k, v in problem.params if isinstance(v, int)}
        words = [f"{k}={v}" for k, v in problem.params if isinstance(v, str)]
        words += [f"algorithm {workload.algorithm}", f"layout {problem.layout}"]
        self._dims = {name: value for name, value in integers.items() if value > 1}
        self._fixed = {f"op {op}": 1.0, **{f"{op} {word}": 1.0 for word in words}}
        for name, value in integers.items():
            self._fixed[f"{op} {name}"] = float(np.log2(abs(value) + 1))
        self.names = [*self._fixed, *self._varying_names()]

    @property
    def telling(self) -> list[str]:
        """Columns without which nothing is known of these candidates: the operator, its knobs."""
        return [f"op {self._op}", *(f"{self._op} value {knob}" for knob in self._knobs)]

    def _varying_names(self) -> list[str]:
        op, knobs = self._op, self._knobs
        names = [f"{op} {kind} {knob}" for kind in ("value", "log2") for knob in knobs]
        names += [f"{op} {a}*{b}" for a, b in combinations(knobs, 2)]
        pairs = [f"{dim}/{knob}" for dim in self._dims for knob in knobs]
        return names + [f"{op} {kind} {pair}" for kind in ("rest", "padding") for pair in pairs]

    def matrix(self, candidates: Candidates) -> Matrix:
        """One row per candidate, columns as in :attr:`names`."""
        values = np.array([[c[k] for k in self._knobs] for c in candidates], np.float32)
        fixed = np.tile(np.array(list(self._fixed.values()), np.float32), (len(values), 1))
        products = [
            values[:, a] * values[:, b] for a, b in combinations(range(len(self._knobs)), 2)
        ]
        dims = np.array(list(self._dims.values()), np.float32).reshape(1, -1, 1)
        divisors = np.maximum(values, 1.0)[:, None, :]
        rest = (dims % divisors).reshape(len(values), -1)
        padding = (np.ceil(dims / divisors) * divisors / dims).reshape(len(values), -1)
        columns = [fixed, values, np.log2(np.abs(values) + 1), *(p[:, None] for p in products)]
        return np.concatenate([*columns, rest, padding], axis=1, dtype=np.float32)


class Trees:
    """Boosted trees over the features of candidates of many tasks."""

    def __init__(self, seed: int) -> None:
        self._parameters = {**_PARAMETERS, "seed": seed, "nthread": 1}
        self._columns: dict[str, int] = {}
        self._booster: Any = None

    def knows(self, features: Features) -> bool:
        """Whether it was trained with this operator and these knobs, at whatever shape."""
        known = all(name in self._columns for name in features.telling)
        return self._booster is not None and known

    def train(self, lessons: Sequence[Lesson]) -> None:
        """Anew on ``lessons``, whose third part is what to predict."""
        import xgboost  # noqa: PLC0415  (2 s)

        if sum(len(goals) for _, _, goals in lessons) < _FEWEST:
            return
        names = dict.fromkeys(name for features, _, _ in lessons for name in features.names)
        self._columns = {name: number for number, name in enumerate(names)}
        rows = np.concatenate([self._spread(f, f.matrix(c)) for f, c, _ in lessons])
        data = xgboost.DMatrix(rows, np.concatenate([goals for _, _, goals in lessons]))
        self._booster = xgboost.train(self._parameters, data, num_boost_round=_ROUNDS)

    def predict(self, features: Features, candidates: Candidates) -> NDArray[np.float32]:
        """One number per candidate. It must :meth:`know <knows>` the operator."""
        rows = self._spread(features, features.matrix(candidates))
        return np.asarray(self._booster.inplace_predict(rows), np.float32)

    def _spread(self, features: Features, matrix: Matrix) -> Matrix:
        """Put a task's columns where the model has them; what a task lacks is missing."""
        rows = np.full((len(matrix), len(self._columns)), np.nan, np.float32)
        pairs = [
            (self._columns[n], at) for at, n in enumerate(features.names) if n in self._columns
        ]
        to, at = (list(side) for side in zip(*pairs, strict=True)) if pairs else ([], [])
        rows[:, to] = matrix[:, at]
        return rows


class CostModel:
    """``update`` with trials, then ``score`` candidates."""

    def __init__(self, seed: int) -> None:
        self._speed = Trees(seed)
        self._build = Trees(seed)

    def knows(self, features: Features) -> bool:
        """Whether it has seen this operator run with these knobs, at whatever shape."""
        return self._speed.knows(features)

    def update(self, trials: Sequence[Lesson], builds: Sequence[Lesson] = ()) -> None:
        """Train anew on everything: seconds per call (infinity: failed), seconds to build."""
        worked = [(f, c, s) for f, c, s in trials if np.isfinite(s).any()]
        self._speed.train([(f, c, s[np.isfinite(s)].min() / s) for f, c, s in worked])
        self._build.train([(f, c, np.log2(s)) for f, c, s in builds if len(s)])

    def speed(self, features: Features, candidates: Candidates) -> NDArray[np.float32]:
        """About 1 is as fast as the task's best, more is faster. It must know the operator."""
        return self._speed.predict(features, candidates)

    def thrift(self, features: Features, candidates: Candidates) -> NDArray[np.float32]:
        """How much quicker than the middle one of ``candidates`` each is to build, as a power of
        two: 1 takes half the time, -1 twice. All 0 until it is known."""
        if not candidates or not self._build.knows(features):
            return np.zeros(len(candidates), np.float32)
        doublings = self._build.predict(features, candidates)
        return np.asarray(np.median(doublings) - doublings, np.float32)

    def score(self, features: Features, candidates: Candidates) -> NDArray[np.float32]:
        """What trying each promises for the time it costs; highest first."""
        thrift = self.thrift(features, candidates)
        return self.speed(features, candidates) + np.float32(_PER_DOUBLING) * thrift
