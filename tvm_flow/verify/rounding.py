"""How far the reference's own fp32 is from the exact result: what a network is judged by where
rounding alone explains more than the usual tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm_flow.frontend.inputs import Array
from tvm_flow.frontend.model import LoadedModel
from tvm_flow.frontend.roundings import off_by_a_rounding
from tvm_flow.measure.stats import worst_rel_error

#: How much farther from the exact result than the reference a compiled network may be.
MULTIPLE = 4.0
#: Two fp32 evaluations of a well-conditioned graph differ by less.
SUSPICIOUS = 1e-5


@dataclass(frozen=True)
class Rounding:
    """Of the model's outputs for one sample. ``exact``: them in fp64, ``None`` where the model does
    not run so; ``own``: how far the reference's fp32 is from that; ``moved``: how far it moves when
    every operator's results, or else the inputs, are a rounding off. Distances are fractions of
    the largest value."""

    exact: list[Array] | None
    own: float
    moved: float

    @property
    def allowed(self) -> float:
        """How far from :attr:`exact`, or from the reference without it, rounding explains."""
        return MULTIPLE * (self.moved if self.exact is None else self.own)

    @property
    def jumps(self) -> float:
        """The same where the input may lie on a step of what is computed, as a constant one may:
        the reference can be exact there, and another order of sums on the other side."""
        return MULTIPLE * max(self.own, self.moved)

    def distance(self, made: Sequence[Array], reference: Sequence[Array]) -> float:
        """How far outputs are from what :attr:`allowed` is about."""
        return float_error(made, reference if self.exact is None else self.exact)

    def told(self, distance: float) -> str:
        """Both distances in a sentence."""
        if self.exact is None:
            return (
                f"off the reference by {distance:.1e}, by {self.moved:.1e} that moves itself when "
                "numbers are a rounding off"
            )
        return f"off fp64 by {distance:.1e}, PyTorch's own fp32 by {self.own:.1e}"


def rounding_of(
    loaded: LoadedModel, sample: Sequence[Array], expected: Sequence[Array],
    exact: list[Array] | None,
) -> Rounding:  # fmt: skip
    """For inputs and reference outputs as the model has them; ``exact`` are those in fp64."""
    own = 0.0 if exact is None else float_error(expected, exact)
    moved = loaded.run_off(*sample)
    if moved is None:
        moved = loaded.run(*map(off_by_a_rounding, sample))
    return Rounding(exact, _finite(own), _finite(float_error(moved, expected)))


def float_error(made: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest relative error of the outputs that are no whole numbers: those are the same, or
    a tie is broken in another way."""
    return worst_rel_error(*([x for x in xs if x.dtype.kind == "f"] for xs in (made, expected)))


def _finite(distance: float) -> float:
    """Infinity tells nothing of rounding."""
    return distance if math.isfinite(distance) else 0.0
