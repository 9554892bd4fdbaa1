"""Dense 3-D convolution of volumes that are stored as images: bias, activation, residual.

``conv3d`` parameters
  n, d, h, w, ci, co     batch, depth, height and width of the input, channels read and written
  kd, kh, kw             kernel
  sd, sh, sw, pd, ph, pw stride, zero padding on both sides
  dd, dh, dw             dilation; left out where it is 1
  groups                 left out where it is 1
  icp, ic0               channels of the input tensor and first one read
  act, res               activation; residual "none", "pre" (before act) or "post" (after)

Layout: NHWC, the planes of a volume one below the other: [n, d * h, w, channels]. Weights:
``weight`` [co, ci / groups, kd, kh, kw], ``bias`` [co].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.sliding import Grouped, window_params


def problem(**given: int | str) -> Problem:
    """A ``conv3d`` problem; everything but n, d, h, w, ci, co has a default."""
    full: dict[str, int | str] = {
        "kd": 1, "kh": 1, "kw": 1, "sd": 1, "sh": 1, "sw": 1, "pd": 0, "ph": 0, "pw": 0,
        "ic0": 0, "icp": given["ci"], "act": "none", "res": "none", **given,
    }  # fmt: skip
    if full.get("dd") == 1:
        del full["dd"]
    return Problem.of("conv3d", window_params(full))


@dataclass(frozen=True)
class Conv3dShape(Grouped):
    """The problem's integers and what follows from them."""

    n: int
    d: int
    h: int
    w: int
    ci: int
    co: int
    kd: int
    kh: int
    kw: int
    sd: int
    sh: int
    sw: int
    pd: int
    ph: int
    pw: int
    icp: int
    ic0: int
    dd: int = 1
    dh: int = 1
    dw: int = 1
    groups: int = 1

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return cls(**{name: problem.get(name, 1) for name in cls.__dataclass_fields__})

    @property
    def od(self) -> int:
        return (self.d + 2 * self.pd - (self.kd - 1) * self.dd - 1) // self.sd + 1

    @property
    def oh(self) -> int:
        return (self.h + 2 * self.ph - (self.kh - 1) * self.dh - 1) // self.sh + 1

    @property
    def ow(self) -> int:
        return (self.w + 2 * self.pw - (self.kw - 1) * self.dw - 1) // self.sw + 1

    @property
    def k(self) -> int:
        """Length of the reduction."""
        return self.gi * self.kd * self.kh * self.kw

    @property
    def padded(self) -> bool:
        return bool(self.pd or self.ph or self.pw)


class Conv3d(Operator):
    """See the module's text."""

    op = "conv3d"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = Conv3dShape.of(problem)
        first = TensorSpec("x", (s.n, s.d * s.h, s.w, s.icp), "input", problem.dtype)
        return [first, *reference.more_inputs(problem, (s.n, s.od * s.oh, s.ow))]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = Conv3dShape.of(problem)
        return [TensorSpec("y", (s.n, s.od * s.oh, s.ow, s.co), "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        s = Conv3dShape.of(problem)
        return {"weight": (s.co, s.gi, s.kd, s.kh, s.kw), "bias": (s.co,)}

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s = Conv3dShape.of(problem)
        x = inputs[0][..., s.ic0 : s.ic0 + s.ci].reshape(s.n, s.d, s.h, s.w, s.ci)
        x = np.pad(x, ((0, 0), (s.pd, s.pd), (s.ph, s.ph), (s.pw, s.pw), (0, 0)))
        # the planes of a window as channels of an image
        last = (s.od - 1) * s.sd + 1
        planes = [x[:, tap * s.dd : tap * s.dd + last : s.sd] for tap in range(s.kd)]
        grouped = [plane.reshape(*plane.shape[:4], s.groups, s.gi) for plane in planes]
        image = np.stack(grouped, axis=5).reshape(s.n * s.od, *x.shape[2:4], s.kd * s.ci)
        kernel = weights["weight"].swapaxes(1, 2).reshape(s.co, s.kd * s.gi, s.kh, s.kw)
        y = reference.conv2d_nhwc(
            image, kernel, weights["bias"], (s.sh, s.sw), (0, 0, 0, 0), (s.dh, s.dw), s.groups
        )
        y = y.reshape(s.n, s.od * s.oh, s.ow, s.co)
        return [reference.epilogue(problem, y, list(inputs[1:]))]

    def macs(self, problem: Problem) -> int:
        s = Conv3dShape.of(problem)
        return s.n * s.od * s.oh * s.ow * s.co * s.k


CONV3D = Conv3d()
