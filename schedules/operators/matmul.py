"""Products of two activations: attention, bilinear forms.

``matmul`` parameters
  b         products of one batch
  m, n, k   rows and columns of a result, length of the reduction
  ta, tb    1: the first (second) operand is stored transposed, as [k, m] ([n, k])
  one       "none", "x" or "w": an operand that is the same in the whole batch

Inputs x [b, m, k] and w [b, k, n], output y [b, m, n].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators.pooling import WeightlessOperator


def problem(
    x: Sequence[int], w: Sequence[int], *, ta: bool = False, tb: bool = False
) -> Problem | None:
    """The product of tensors of these shapes, the last two axes of either transposed as ``ta`` and
    ``tb`` say; ``None`` for batches that are broadcast in other ways than as a whole."""
    if len(x) < 2 or len(w) < 2:
        return None
    (m, k), n = (x[-1], x[-2]) if ta else (x[-2], x[-1]), w[-2] if tb else w[-1]
    xs, ws = _batch(x), _batch(w)
    b, one = int(np.prod(xs)), "none"
    if not ws and not ta:
        b, m = 1, b * m  # the rows of all of them are those of one matrix
    elif not ws:
        one = "w" if xs else "none"
    elif not xs:
        b, one = int(np.prod(ws)), "x"
    elif xs != ws:
        return None
    return Problem.make("matmul", b=b, m=m, n=n, k=k, ta=int(ta), tb=int(tb), one=one)


def _batch(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of a batch, without those of length 1 that lead."""
    axes = tuple(shape[:-2])
    while axes and axes[0] == 1:
        axes = axes[1:]
    return axes


class Matmul(WeightlessOperator):
    """See the module's text."""

    op = "matmul"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        m, n, k = (problem[name] for name in ("m", "n", "k"))
        x, w = (k, m) if problem["ta"] else (m, k), (n, k) if problem["tb"] else (k, n)
        batch = {name: 1 if problem.text("one") == name else problem["b"] for name in "xw"}
        return [
            TensorSpec("x", (batch["x"], *x), "input", problem.dtype),
            TensorSpec("w", (batch["w"], *w), "input", problem.dtype),
        ]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        shape = (problem["b"], problem["m"], problem["n"])
        return [TensorSpec("y", shape, "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        x, w = (value.astype(problem.dtype.wide) for value in inputs)
        x = x.swapaxes(1, 2) if problem["ta"] else x
        w = w.swapaxes(1, 2) if problem["tb"] else w
        return [(x @ w).astype(problem.dtype.numpy)]

    def macs(self, problem: Problem) -> int:
        return problem["b"] * problem["m"] * problem["n"] * problem["k"]


MATMUL = Matmul()
