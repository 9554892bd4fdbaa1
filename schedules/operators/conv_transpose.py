"""Transposed 2-D convolution (PyTorch's ``ConvTranspose2d``): bias, activation, residual.

Every input pixel adds its products with the whole kernel to an output that is ``sh`` x ``sw`` times
finer: ``y[i * sh - ph + a * dh] += x[i] * weight[a]``.

``conv_transpose`` parameters
  n, h, w, ci, co        batch, input height and width, channels read, channels written
  kh, kw, sh, sw         kernel, stride
  ph, pw                 rows and columns cut off at the top and on the left
  oh, ow                 output height and width: what lies beyond is cut off, what nothing reaches
                         is the bias
  dh, dw, groups         dilation and groups of channels; left out where they are 1
  icp, ic0               channels of the input tensor and first one read
  act, res               activation; residual "none", "pre" (before act) or "post" (after)

Layout: NHWC. Weights: ``weight`` [co, ci / groups, kh, kw], ``bias`` [co].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.sliding import Grouped, window_params


def problem(**given: int | str) -> Problem:
    """A ``conv_transpose`` problem; n, h, w, ci, co, oh and ow must be given."""
    full: dict[str, int | str] = {
        "kh": 2, "kw": 2, "sh": 2, "sw": 2, "ph": 0, "pw": 0, "ic0": 0, "icp": given["ci"],
        "act": "none", "res": "none", **given,
    }  # fmt: skip
    return Problem.of("conv_transpose", window_params(full))


@dataclass(frozen=True)
class TransposedShape(Grouped):
    """The problem's integers."""

    n: int
    h: int
    w: int
    ci: int
    co: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    oh: int
    ow: int
    icp: int
    ic0: int
    dh: int = 1
    dw: int = 1
    groups: int = 1

    @classmethod
    def of(cls, problem: Problem) -> Self:
        return cls(**{name: problem.get(name, 1) for name in cls.__dataclass_fields__})


class ConvTranspose(Operator):
    """See the module's text."""

    op = "conv_transpose"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = TransposedShape.of(problem)
        first = TensorSpec("x", (s.n, s.h, s.w, s.icp), "input", problem.dtype)
        return [first, *reference.more_inputs(problem, (s.n, s.oh, s.ow))]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = TransposedShape.of(problem)
        return [TensorSpec("y", (s.n, s.oh, s.ow, s.co), "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        s = TransposedShape.of(problem)
        return {"weight": (s.co, s.gi, s.kh, s.kw), "bias": (s.co,)}

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s = TransposedShape.of(problem)
        wide = DType.of(inputs[0]).wide
        x = inputs[0][..., s.ic0 : s.ic0 + s.ci].astype(wide)
        high = max(s.ph + s.oh, (s.h - 1) * s.sh + (s.kh - 1) * s.dh + 1)
        broad = max(s.pw + s.ow, (s.w - 1) * s.sw + (s.kw - 1) * s.dw + 1)
        full = np.zeros((s.n, high, broad, s.co), wide)
        for a, b in product(range(s.kh), range(s.kw)):
            rows = slice(a * s.dh, a * s.dh + (s.h - 1) * s.sh + 1, s.sh)
            columns = slice(b * s.dw, b * s.dw + (s.w - 1) * s.sw + 1, s.sw)
            for g in range(s.groups):
                reads = slice(g * s.gi, (g + 1) * s.gi)
                writes = slice(g * s.go, (g + 1) * s.go)
                kernel = weights["weight"][writes, :, a, b].T.astype(wide)
                full[:, rows, columns, writes] += x[..., reads] @ kernel
        y = full[:, s.ph : s.ph + s.oh, s.pw : s.pw + s.ow] + weights["bias"]
        return [reference.epilogue(problem, y.astype(inputs[0].dtype), list(inputs[1:]))]

    def macs(self, problem: Problem) -> int:
        s = TransposedShape.of(problem)
        return s.n * s.h * s.w * s.gi * s.co * s.kh * s.kw


CONV_TRANSPOSE = ConvTranspose()
