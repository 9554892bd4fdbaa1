"""Element-wise operators of one tensor and numbers, computed with NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tvm_flow.ir.graph import Array, Node
from tvm_flow.schedules.operators.activations import function


def _slope(node: Node) -> float:
    return float(node.attrs["call"].attrs.alpha)


_PLAIN: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "relax.abs": np.abs,
    "relax.negative": np.negative,
    "relax.exp": np.exp,
    "relax.log": np.log,
    "relax.tanh": np.tanh,
    "relax.sqrt": np.sqrt,
    "relax.square": np.square,
    "relax.maximum": np.maximum,
    "relax.minimum": np.minimum,
    "relax.where": np.where,
    "relax.greater": np.greater,
    "relax.greater_equal": np.greater_equal,
    "relax.less": np.less,
    "relax.less_equal": np.less_equal,
    "relax.equal": np.equal,
    "relax.not_equal": np.not_equal,
}
_WITH_ATTRIBUTES: dict[str, Callable[[Node, Array], Any]] = {
    "clip": lambda node, x: np.clip(x, node.attrs["low"], node.attrs["high"]),
    "act": lambda node, x: function(node.attrs["kind"])(x),
    "relax.nn.gelu_tanh": lambda _node, x: function("gelu_tanh")(x),
    "relax.nn.leakyrelu": lambda node, x: np.where(x > 0, x, x * _slope(node)),
}


def computable(node: Node) -> bool:
    """Whether :func:`evaluate` knows the operator, and all operands are inputs of the node."""
    if node.op in _WITH_ATTRIBUTES:
        return len(node.inputs) == 1
    call = node.attrs.get("call")
    return node.op in _PLAIN and (call is None or len(call.args) == len(node.inputs))


def evaluate(node: Node, values: Sequence[Array]) -> Array:
    """The node's value of its inputs' ``values``."""
    if node.op in _WITH_ATTRIBUTES:
        return np.asarray(_WITH_ATTRIBUTES[node.op](node, values[0]))
    return np.asarray(_PLAIN[node.op](*values))
