"""Partial convolution (arXiv 2303.03667) and the chains around it.

PConv convolves ``cc`` of ``c`` channels, as a rule the first, with a k x k kernel (stride 1, same
padding) and leaves the rest as they are.

``pconv``            the convolution alone
``pconv_pointwise``  PConv, 1x1 (c -> co), bias, activation, optional residual before it
``pconv_block``      PConv, 1x1 (c -> hidden), bias, activation, 1x1 (hidden -> c), optional
                     residual: the FasterNet block

Parameters: n, h, w, c, cc, k; and co, act, res (pointwise); hidden, act, res (block). Where they
are not 0, 1 and "none": first, the first channel convolved; d, the dilation; inner, the activation
of the convolved channels.
Weights: ``conv`` [cc, cc, k, k], ``conv_bias`` [cc], ``w1`` [co or hidden, c], ``b1``, and for
the block ``w2`` [c, hidden], ``b2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.activations import activation


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
    first: int = 0
    d: int = 1
    inner: str = "none"

    @classmethod
    def of(cls, problem: Problem) -> Self:
        base = {name: problem[name] for name in ("n", "h", "w", "c", "cc", "k")}
        base |= {"first": problem.get("first", 0), "d": problem.get("d", 1)}
        width = {"pconv_block": "hidden", "pconv_pointwise": "co"}.get(problem.op)
        base |= {"n1": problem[width] if width else 0}
        base |= {"n2": problem["c"] if problem.op == "pconv_block" else 0}
        return cls(**base, inner=str(dict(problem.params).get("inner", "none")))

    @property
    def untouched(self) -> list[tuple[int, int]]:
        """The channels that are not convolved, as runs: first one and how many."""
        end = self.first + self.cc
        return [(start, count) for start, count in ((0, self.first), (end, self.c - end)) if count]

    @property
    def pad(self) -> int:
        """Rows and columns of padding on every side."""
        return self.d * (self.k // 2)

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
        y, end = x.copy(), s.first + s.cc
        part = reference.conv2d_nhwc(
            x[..., s.first : end], weights["conv"], weights["conv_bias"], (1, 1), (s.pad, s.pad),
            (s.d, s.d),
        )  # fmt: skip
        y[..., s.first : end] = activation(s.inner, part)
        if not s.n1:
            return [y]
        y = reference.pointwise_nhwc(y, weights["w1"], weights["b1"])
        if not s.n2:
            return [reference.epilogue(problem, y, list(inputs[1:]))]
        y = activation(problem.text("act"), y)
        y = reference.pointwise_nhwc(y, weights["w2"], weights["b2"])
        return [y + x if problem.text("res") != "none" else y]

    def macs(self, problem: Problem) -> int:
        s = PConvShape.of(problem)
        return s.n * s.h * s.w * sum(k * n for *_, k, n in s.products)


PCONV, PCONV_POINTWISE, PCONV_BLOCK = (
    PConv(op) for op in ("pconv", "pconv_pointwise", "pconv_block")
)
