"""Depthwise convolution with bias and activation.

``depthwise`` parameters: n, h, w, c; kh, kw, sh, sw, ph, pw, and dh, dw, pb, pr as in ``conv2d``;
cp, c0 (channels of the input tensor and first one read); act, post as in ``conv2d``. Layouts: NHWC,
and NCHW (without post). Weights: ``weight`` [c, kh, kw], ``bias`` [c], and those of post. With
several outputs per channel it is a ``conv2d`` of as many groups as channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.sliding import WindowShape, shape_of, window_params


def problem(*, layout: str = NHWC, **given: int | str) -> Problem:
    """A ``depthwise`` problem; everything but n, h, w, c has a default."""
    full: dict[str, int | str] = {
        "kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1, "cp": given["c"], "c0": 0,
        "act": "none",
    }  # fmt: skip
    return Problem.of("depthwise", window_params({**full, **given}), layout)


class Depthwise(Operator):
    """See the module's text."""

    op = "depthwise"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = WindowShape.of(problem)
        x = shape_of(problem.layout_in, s.n, s.h, s.w, s.cp)
        return [TensorSpec("x", x, "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = WindowShape.of(problem)
        y = shape_of(problem.layout_out, s.n, s.oh, s.ow, s.c)
        return [TensorSpec("y", y, "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        s = WindowShape.of(problem)
        own = {"weight": (s.c, s.kh, s.kw), "bias": (s.c,)}
        return own | reference.post_shapes(problem, s.c)

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s = WindowShape.of(problem)
        x = reference.to_nhwc(inputs[0], problem.layout_in)[..., s.c0 : s.c0 + s.c]
        weight, bias = weights["weight"], weights["bias"]
        y = reference.depthwise_nhwc(x, weight, bias, s.stride, s.border, s.dilation)
        y = reference.activated(problem, y, weights)
        return [reference.from_nhwc(y, problem.layout_out)]

    def macs(self, problem: Problem) -> int:
        s = WindowShape.of(problem)
        return s.n * s.oh * s.ow * s.c * s.kh * s.kw


DEPTHWISE = Depthwise()
