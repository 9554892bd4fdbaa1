"""2-D convolution (and linear layers): bias, activation, residual, channel shuffle.

``conv2d`` parameters
  n, h, w, ci, co        batch, input height and width, channels read, channels written
  kh, kw, sh, sw, ph, pw kernel, stride, zero padding above and on the left
  pb, pr                 zero padding below and on the right, where it is not ``ph`` and ``pw``
  dh, dw                 dilation, where it is not 1
  groups                 where there is more than one: group g computes the g-th part of the output
                         channels from the g-th part of the input's
  icp, ic0               channels of the input tensor and first one read (a slice costs nothing)
  act, res               activation; residual "none", "pre" (before act) or "post" (after)
  post                   1: scale and shift per channel after the activation, where there are any
  mix                    1: output channel 2i comes from the ``bypass`` input, 2i+1 is computed
                         here (ShuffleNet's concat and shuffle folded into the store)
  bcp, bc0               channels of the bypass tensor and first one read

Layouts: NHWC; ``nchw_to_nhwc`` for the first layer of a network; ``nchw`` for a convolution between
two NCHW tensors. Weights: ``weight`` [co, ci / groups, kh, kw], ``bias`` [co]; with
``post`` also ``post_scale`` and ``post_shift`` [co].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import NCHW, NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.sliding import Grouped, Sliding, shape_of, window_params


def problem(*, layout: str = NHWC, **given: int | str) -> Problem:
    """A ``conv2d`` problem; everything but n, h, w, ci, co has a default. What is optional is left
    out where it has its default."""
    full: dict[str, int | str] = {
        "kh": 1, "kw": 1, "sh": 1, "sw": 1, "ph": 0, "pw": 0, "ic0": 0, "icp": given["ci"],
        "act": "none", "res": "none", "mix": 0, "bcp": 0, "bc0": 0,
    }  # fmt: skip
    return Problem.of("conv2d", window_params({**full, **given}), layout)


@dataclass(frozen=True)
class Conv2dShape(Grouped, Sliding):
    """The problem's integers and what follows from them; ``nchw``: whether the input is."""

    ci: int
    co: int
    icp: int
    ic0: int
    mix: int
    bcp: int
    bc0: int
    groups: int = 1
    nchw: bool = False

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return replace(super().of(problem), nchw=problem.layout_in == NCHW)

    @property
    def k(self) -> int:
        """Length of the reduction."""
        return self.gi * self.kh * self.kw

    @property
    def pointwise(self) -> bool:
        """Whether each output pixel is computed from the input pixel at the same place."""
        return (self.kh, self.kw, *self.stride, *self.border) == (1, 1, 1, 1, 0, 0, 0, 0)

    @property
    def flat(self) -> bool:
        """Whether it is a matrix product (one per group) over one line of NHWC pixels."""
        return self.pointwise and not self.nchw

    @property
    def padded(self) -> bool:
        return any(self.border)


class Conv2d(Operator):
    """See the module's text."""

    op = "conv2d"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = Conv2dShape.of(problem)
        x = shape_of(problem.layout_in, s.n, s.h, s.w, s.icp)
        first = TensorSpec("x", x, "input", problem.dtype)
        return [first, *reference.more_inputs(problem, (s.n, s.oh, s.ow))]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = Conv2dShape.of(problem)
        y = shape_of(problem.layout_out, s.n, s.oh, s.ow, s.co * (2 if s.mix else 1))
        return [TensorSpec("y", y, "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        s = Conv2dShape.of(problem)
        own = {"weight": (s.co, s.gi, s.kh, s.kw), "bias": (s.co,)}
        return own | reference.post_shapes(problem, s.co)

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s = Conv2dShape.of(problem)
        x = reference.to_nhwc(inputs[0], problem.layout_in)[..., s.ic0 : s.ic0 + s.ci]
        y = reference.conv2d_nhwc(
            x, weights["weight"], weights["bias"], s.stride, s.border, s.dilation, s.groups
        )
        y = reference.epilogue(problem, y, list(inputs[1:]), weights)
        return [reference.from_nhwc(y, problem.layout_out)]

    def macs(self, problem: Problem) -> int:
        s = Conv2dShape.of(problem)
        return s.n * s.oh * s.ow * s.co * s.k


CONV2D = Conv2d()
