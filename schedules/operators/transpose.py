"""Change of layout between NCHW and NHWC, for the borders of a network.

``transpose`` parameters: n, c, h, w. The layouts ``nchw_to_nhwc`` and ``nhwc_to_nchw`` are what
tells the two directions apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_flow.schedules.contract.problem import (
    AXES,
    NCHW,
    NCHW_TO_NHWC,
    NHWC,
    NHWC_TO_NCHW,
    Problem,
)
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators.pooling import WeightlessOperator
from tvm_flow.schedules.operators.sliding import shape_of

_LAYOUTS: dict[tuple[int, ...], str] = {AXES[NHWC]: NCHW_TO_NHWC, AXES[NCHW]: NHWC_TO_NCHW}


def problem(n: int, c: int, h: int, w: int, axes: Sequence[int]) -> Problem | None:
    """The transposition by ``axes`` to a [n, c, h, w] or [n, h, w, c] tensor; ``None`` for axes
    that are no change between the two layouts."""
    layout = _LAYOUTS.get(tuple(axes))
    return Problem.make("transpose", layout=layout, n=n, c=c, h=h, w=w) if layout else None


class Transpose(WeightlessOperator):
    """See the module's text."""

    op = "transpose"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("x", _shape(problem, problem.layout_in), "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("y", _shape(problem, problem.layout_out), "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        return [np.ascontiguousarray(inputs[0].transpose(AXES[problem.layout_out]))]


def _shape(problem: Problem, layout: str) -> tuple[int, int, int, int]:
    return shape_of(layout, *(problem[name] for name in ("n", "h", "w", "c")))


TRANSPOSE = Transpose()
