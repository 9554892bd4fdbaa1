"""Channel shuffle: channel ``i * groups + g`` of the output is the ``i``-th of group ``g``.

``channel_shuffle`` parameters: n, h, w, c, groups. Where a neighbouring kernel can store so, it
does (``mix`` of ``conv2d``); this is for the rest, such as what ShuffleNet v1 has between a
grouped 1x1 and a depthwise convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators.pooling import WeightlessOperator


class ChannelShuffle(WeightlessOperator):
    """See the module's text."""

    op = "channel_shuffle"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("x", _shape(problem), "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("y", _shape(problem), "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        x, groups = inputs[0], problem["groups"]
        split = x.reshape(*x.shape[:3], groups, -1).swapaxes(-1, -2)
        return [np.ascontiguousarray(split).reshape(x.shape)]


def _shape(problem: Problem) -> tuple[int, int, int, int]:
    return problem["n"], problem["h"], problem["w"], problem["c"]


CHANNEL_SHUFFLE = ChannelShuffle()
