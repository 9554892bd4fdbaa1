"""Pooling. ``pool2d``: max or average over a window; ``global_pool``: mean over all pixels.

``pool2d`` parameters: n, h, w, c; kh, kw, sh, sw, ph, pw; as of a convolution dh, dw, pb, pr, where
they are not 1, ph and pw; cp, c0; mode "max" or "avg" (padding counts as zeros in the average,
PyTorch's ``count_include_pad=True``).
``global_pool`` parameters: n, h, w, c.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.sliding import WindowShape, window_params

#: What the maximum of nothing is.
LOWEST = -math.inf


def problem(**given: int | str) -> Problem:
    """A ``pool2d`` problem; n, h, w, c, kh, kw and mode must be given."""
    full: dict[str, int | str] = {
        "sh": 1, "sw": 1, "ph": 0, "pw": 0, "cp": given["c"], "c0": 0,
    }  # fmt: skip
    return Problem.of("pool2d", window_params({**full, **given}))


class WeightlessOperator(Operator):
    """An operator that multiplies nothing by weights."""

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        return {}

    def macs(self, problem: Problem) -> int:
        return 0


class Pool2d(WeightlessOperator):
    """See the module's text."""

    op = "pool2d"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = WindowShape.of(problem)
        return [TensorSpec("x", (s.n, s.h, s.w, s.cp), "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = WindowShape.of(problem)
        return [TensorSpec("y", (s.n, s.oh, s.ow, s.c), "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, is_max = WindowShape.of(problem), problem.text("mode") == "max"
        x = inputs[0][..., s.c0 : s.c0 + s.c]
        fill = LOWEST if is_max else 0.0
        view = reference.windows(x, (s.kh, s.kw), s.stride, s.border, fill, s.dilation)
        y = view.max(axis=(4, 5)) if is_max else view.mean(axis=(4, 5), dtype=np.float64)
        return [np.ascontiguousarray(y, x.dtype)]


class GlobalPool(WeightlessOperator):
    """Mean over all pixels of each image: [n, h, w, c] -> [n, c]."""

    op = "global_pool"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        x = (problem["n"], problem["h"], problem["w"], problem["c"])
        return [TensorSpec("x", x, "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("y", (problem["n"], problem["c"]), "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        x = inputs[0]
        return [x.mean(axis=(1, 2), dtype=np.float64).astype(x.dtype)]


POOL2D, GLOBAL_POOL = Pool2d(), GlobalPool()
