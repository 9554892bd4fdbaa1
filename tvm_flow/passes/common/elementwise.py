"""Operators that compute each element from those at the same place, in whatever layout."""

from __future__ import annotations

#: The graph's own; ``affine`` is one per channel.
ELEMENTWISE = frozenset({"act", "clip", "add", "multiply", "subtract", "divide", "affine"})
#: Relax's, which have no channel axis: they stay in the layout of what they read.
FOLLOWING = frozenset(
    f"relax.{name}"
    for name in (
        "abs", "atan", "ceil", "cos", "erf", "exp", "floor", "log", "negative", "nn.gelu_tanh",
        "nn.leakyrelu", "round", "rsqrt", "sign", "sin", "sqrt", "square", "tan", "tanh",
        "maximum", "minimum", "power", "where", "greater", "greater_equal", "less", "less_equal",
        "equal", "not_equal",
    )
)  # fmt: skip
