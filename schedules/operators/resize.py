"""Images of another size: nearest pixels, linear and cubic interpolation.

``resize`` parameters
  n, h, w, c             batch, input height and width, channels
  oh, ow                 output height and width
  method                 "nearest", "linear" or "cubic"
  mode                   which place of the input an output pixel stands for: "half_pixel",
                         "pytorch_half_pixel", "align_corners", "asymmetric" or
                         "tf_half_pixel_for_nn", as in ONNX
  rounding               of the nearest: "floor", "ceil", "round_prefer_floor" or
                         "round_prefer_ceil"; "none" for the other methods
  cp, c0                 channels of the input tensor and first one read
  act, res               activation; residual "none", "pre" (before act) or "post" (after)

Layout: NHWC. Rows and columns are interpolated apart: each output row is a sum of a few input rows,
each output column of a few columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.operators import reference
from tvm_flow.schedules.operators.pooling import WeightlessOperator

#: Input pixels per output pixel along an axis.
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
#: PyTorch's, and the usual one.
CUBIC_ALPHA = -0.75
#: An integer, an array of them or an expression that is one in a kernel.
Whole = Any

MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn")
_ROUNDINGS: dict[str, Callable[[Whole, int], Whole]] = {
    "floor": lambda number, over: number // over,
    "ceil": lambda number, over: -((-number) // over),
    "round_prefer_floor": lambda number, over: -((over - 2 * number) // (2 * over)),
    "round_prefer_ceil": lambda number, over: (2 * number + over) // (2 * over),
}
#: Values of ``rounding`` beside "none".
ROUNDINGS = tuple(_ROUNDINGS)


def problem(**given: int | str) -> Problem:
    """A ``resize`` problem; n, h, w, c, oh, ow, method, mode and rounding must be given."""
    full: dict[str, int | str] = {"cp": given["c"], "c0": 0, "act": "none", "res": "none"}
    return Problem.of("resize", {**full, **given})


@dataclass(frozen=True)
class Axis:
    """How ``old`` elements become ``new`` ones: output ``at`` stands for the place
    ``(at * step + start) / over`` of the input."""

    old: int
    new: int
    method: str
    mode: str
    rounding: str

    @property
    def line(self) -> tuple[int, int, int]:
        """``step``, ``start`` and ``over``."""
        old, new = self.old, self.new
        if self.mode == "asymmetric":
            return old, 0, new
        if self.mode == "tf_half_pixel_for_nn":
            return 2 * old, old, 2 * new
        if self.mode == "align_corners":
            return (old - 1, 0, new - 1) if new > 1 else (0, 0, 1)
        if self.mode == "pytorch_half_pixel" and new == 1:
            return 0, 0, 1
        return 2 * old, old - new, 2 * new

    def first(self, at: Whole) -> Whole:
        """The first input element that output ``at`` is made of; it and those after it may be
        beyond the ends, for which the last ones stand."""
        step, start, over = self.line
        place = at * step + start
        if self.method == "nearest":
            return _ROUNDINGS[self.rounding](place, over)
        return place // over - (1 if self.method == "cubic" else 0)

    def rest(self, at: Whole) -> tuple[Whole, int]:
        """How far behind the element before it the place is: so many parts of so many."""
        step, start, over = self.line
        return (at * step + start) % over, over

    def shares(self, t: Any) -> list[Any]:
        """What each input element counts, ``t`` being :meth:`rest` as a number below 1."""
        if self.method == "linear":
            return [1 - t, t]
        a = CUBIC_ALPHA
        return [
            a * t * (1 - t) * (1 - t),
            ((a + 2) * t - (a + 3)) * t * t + 1,
            (((a + 2) * (1 - t)) - (a + 3)) * (1 - t) * (1 - t) + 1,
            a * (1 - t) * t * t,
        ]

    def taps(self) -> tuple[Array, Array]:
        """``[new, TAPS]``: which elements make each output, and their shares."""
        at = np.arange(self.new)
        index = self.first(at)[:, None] + np.arange(TAPS[self.method])
        if self.method == "nearest":
            shares = np.ones((self.new, 1))
        else:
            rest, over = self.rest(at)
            shares = np.stack(self.shares(rest / over), axis=1)
        return np.clip(index, 0, self.old - 1).astype(np.int64), shares


def axes(problem: Problem) -> tuple[Axis, Axis]:
    """That of the rows and that of the columns."""
    how = tuple(problem.text(name) for name in ("method", "mode", "rounding"))
    return Axis(problem["h"], problem["oh"], *how), Axis(problem["w"], problem["ow"], *how)


class Resize(WeightlessOperator):
    """See the module's text."""

    op = "resize"

    def inputs(self, problem: Problem) -> list[TensorSpec]:
        shape = tuple(problem[name] for name in ("n", "h", "w", "cp"))
        first = TensorSpec("x", shape, "input", problem.dtype)
        if problem.text("res") == "none":
            return [first]
        return [first, TensorSpec("residual", self._shape(problem), "input", problem.dtype)]

    def outputs(self, problem: Problem) -> list[TensorSpec]:
        return [TensorSpec("y", self._shape(problem), "output", problem.dtype)]

    def reference(
        self, problem: Problem, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        x = inputs[0][..., problem["c0"] : problem["c0"] + problem["c"]].astype(np.float64)
        (rows, down), (columns, across) = (axis.taps() for axis in axes(problem))
        x = (x[:, rows] * down[:, :, None, None]).sum(axis=2)
        x = (x[:, :, columns] * across[:, :, None]).sum(axis=3)
        return [reference.epilogue(problem, x.astype(inputs[0].dtype), list(inputs[1:]))]

    def _shape(self, problem: Problem) -> tuple[int, int, int, int]:
        return problem["n"], problem["oh"], problem["ow"], problem["c"]


RESIZE = Resize()
