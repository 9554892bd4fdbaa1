"""Partial convolution (arXiv 2303.03667) and the chains around it.

PConv convolves the first ``cc`` of ``c`` channels with a k x k kernel (stride 1, same padding) and
leaves the rest as they are.

``pconv``            the convolution alone
``pconv_pointwise``  PConv, 1x1 (c -> co), bias, activation, optional residual before it
``pconv_block``      PConv, 1x1 (c -> hidden), bias, activation, 1x1 (hidden -> c), optional
                     residual: the FasterNet block

Parameters: n, h, w, c, cc, k; and co, act, res (pointwise); hidden, act, res (block).
Weights: ``conv`` [cc, cc, k, k], ``conv_bias`` [cc], ``w1`` [co or hidden, c], ``b1``, and for
the block ``w2`` [c, hidden], ``b2``.
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


@dataclass(frozen=True)
class PConvShape:
    """Integers of a problem; ``n1``/``n2`` are output channels of the 1x1s (0: none)."""

    n: int
    h: int
    w: int
    c: int
    cc: int
    k: int
    n1: int
    n2: int

    @classmethod
    def of(cls, problem: Problem) -> Self:
        base = {name: problem[name] for name in ("n", "h", "w", "c", "cc", "k")}
        if problem.op == "pconv_block":
            return cls(**base, n1=problem["hidden"], n2=problem["c"])
        return cls(**base, n1=problem["co"] if problem.op == "pconv_pointwise" else 0, n2=0)

    @property
    def out(self) -> int:
        """Channels of the output."""
        return self.n2 or self.n1 or self.c

    @property
    def products(self) -> list[tuple[str, str, int, int]]:
        """(weight, bias, reduction length, output channels) of every product, in order."""
        found = [("conv", "conv_bias", self.cc * self.k * self.k, self.cc)]
        if self.n1:
            found.append(("w1", "b1", self.c, self.n1))
        if self.n2:
            found.append(("w2", "b2", self.n1, self.n2))
        return found


class PConv(Operator):
    """One of the three; see the module's text."""

    def __init__(self, op: str) -> None:
        self.op = op

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        s = PConvShape.of(problem)
        first = TensorSpec("x", (s.n, s.h, s.w, s.c), "input", problem.dtype)
        more = self.op == "pconv_pointwise"  # the block adds its own input
        return [first, *(reference.more_inputs(problem, (s.n, s.h, s.w)) if more else [])]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        s = PConvShape.of(problem)
        return [TensorSpec("y", (s.n, s.h, s.w, s.out), "output", problem.dtype)]

    def weight_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        s = PConvShape.of(problem)
        shapes: dict[str, tuple[int, ...]] = {
            "conv": (s.cc, s.cc, s.k, s.k), "conv_bias": (s.cc,),
        }  # fmt: skip
        for weight, bias, k, n in s.products[1:]:
            shapes |= {weight: (n, k), bias: (n,)}
        return shapes

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, x = PConvShape.of(problem), inputs[0]
        conv, pad = weights["conv"], (s.k // 2, s.k // 2)
        part = reference.conv2d_nhwc(x[..., : s.cc], conv, weights["conv_bias"], (1, 1), pad)
        y = np.concatenate([part, x[..., s.cc :]], axis=-1)
        if not s.n1:
            return [y]
        y = reference.pointwise_nhwc(y, weights["w1"], weights["b1"])
        if not s.n2:
            return [reference.epilogue(problem, y, list(inputs[1:]))]
        y = reference.activation(problem.text("act"), y)
        y = reference.pointwise_nhwc(y, weights["w2"], weights["b2"])
        return [y + x if problem.text("res") != "none" else y]

    def macs(self, problem: Problem) -> int:
        s = PConvShape.of(problem)
        return s.n * s.h * s.w * sum(k * n for *_, k, n in s.products)


PCONV, PCONV_POINTWISE, PCONV_BLOCK = (
    PConv(op) for op in ("pconv", "pconv_pointwise", "pconv_block")
)
