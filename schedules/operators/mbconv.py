"""1x1 -> depthwise k x k -> 1x1 as one operator: inverted residuals and ShuffleNet branches.

``mbconv`` parameters
  n, h, w, ci, hid, co; k, st    kernel (padding k//2) and stride of the depthwise convolution
  icp, ic0                       channels of the input tensor and first one read
  act1, act2, act                activations after the three convolutions
  res, mix, bcp, bc0             of the last 1x1, as in ``conv2d``
Weights: ``w1`` [hid, ci], ``b1``; ``dw`` [hid, k, k], ``dwb``; ``w2`` [co, hid], ``b2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import conv2d, reference
from tvm_flow.schedules.operators.activations import activation
from tvm_flow.schedules.operators.conv2d import Conv2dShape
from tvm_flow.schedules.operators.sliding import WindowShape


def window(problem: Problem, pitch: int) -> WindowShape:
    """The depthwise convolution over hidden rows of ``pitch`` elements per pixel."""
    k, st = problem["k"], problem["st"]
    return WindowShape(
        n=problem["n"], h=problem["h"], w=problem["w"], c=problem["hid"], cp=pitch, c0=0,
        kh=k, kw=k, sh=st, sw=st, ph=k // 2, pw=k // 2,
    )  # fmt: skip


def first_pointwise(problem: Problem) -> Conv2dShape:
    """The first 1x1 as a ``conv2d`` shape."""
    n, h, w, ci, hid = (problem[name] for name in ("n", "h", "w", "ci", "hid"))
    return Conv2dShape.of(conv2d.problem(n=n, h=h, w=w, ci=ci, co=hid))


def last_pointwise(problem: Problem) -> Conv2dShape:
    """The second 1x1 as a ``conv2d`` shape, for its epilogue."""
    s = window(problem, problem["hid"])
    co, mix, bcp, bc0 = (problem[name] for name in ("co", "mix", "bcp", "bc0"))
    given = conv2d.problem(n=s.n, h=s.oh, w=s.ow, ci=s.c, co=co, mix=mix, bcp=bcp, bc0=bc0)
    return Conv2dShape.of(given)


class MbConv(Operator):
    """See the module's text."""

    op = "mbconv"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        last = last_pointwise(problem)
        x = (problem["n"], problem["h"], problem["w"], problem["icp"])
        first = TensorSpec("x", x, "input", problem.dtype)
        return [first, *reference.more_inputs(problem, (last.n, last.oh, last.ow))]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = last_pointwise(problem)
        y = (s.n, s.oh, s.ow, s.co * (2 if s.mix else 1))
        return [TensorSpec("y", y, "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        hid, co, k = problem["hid"], problem["co"], problem["k"]
        return {
            "w1": (hid, problem["ci"]), "b1": (hid,), "dw": (hid, k, k), "dwb": (hid,),
            "w2": (co, hid), "b2": (co,),
        }  # fmt: skip

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, first = window(problem, problem["hid"]), problem["ic0"]
        x = inputs[0][..., first : first + problem["ci"]]
        y = reference.pointwise_nhwc(x, weights["w1"], weights["b1"])
        y = activation(problem.text("act1"), y)
        y = reference.depthwise_nhwc(y, weights["dw"], weights["dwb"], s.stride, s.pad)
        y = activation(problem.text("act2"), y)
        y = reference.pointwise_nhwc(y, weights["w2"], weights["b2"])
        return [reference.epilogue(problem, y, list(inputs[1:]))]

    def macs(self, problem: Problem) -> int:
        p, last = problem, last_pointwise(problem)
        inner = last.oh * last.ow * p["hid"] * (p["k"] ** 2 + p["co"])
        return p["n"] * (p["h"] * p["w"] * p["ci"] * p["hid"] + inner)


MBCONV = MbConv()
