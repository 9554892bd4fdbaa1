"""Activations as Relax, where no kernel has them in its epilogue."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import relax
from tvm.relax import op

from tvm_flow.schedules.operators.activations import parse


def activation(text: str, x: relax.Expr, dtype: str) -> relax.Expr:
    """The activation ``text``, as in a problem, of ``x``."""
    name, numbers = parse(text)
    made = _Activations(x, dtype)
    table: dict[str, Callable[..., relax.Expr]] = {
        "none": lambda: x,
        "relu": lambda: op.nn.relu(x),
        "relu6": lambda: op.clip(x, 0, 6),
        "gelu": lambda: op.nn.gelu(x),
        "gelu_tanh": lambda: op.nn.gelu_tanh(x),
        "sigmoid": lambda: op.sigmoid(x),
        "tanh": lambda: op.tanh(x),
        "hardsigmoid": made.hard,
        "clip": lambda low, high: op.clip(x, low, high),
        "leakyrelu": lambda a: op.nn.leakyrelu(x, a),
        "silu": made.silu,
        "hardswish": made.hardswish,
        "softplus": made.softplus,
        "mish": lambda: op.multiply(x, op.tanh(made.softplus())),
        "elu": made.elu,
    }
    return table[name](*numbers)


class _Activations:
    def __init__(self, x: relax.Expr, dtype: str) -> None:
        self.x, self.dtype = x, dtype

    def number(self, value: float) -> relax.Expr:
        return relax.const(value, self.dtype)

    def times(self, factor: float) -> relax.Expr:
        return op.multiply(self.x, self.number(factor))

    def hard(self) -> relax.Expr:
        shifted = op.add(self.x, self.number(3))
        return op.divide(op.clip(shifted, 0, 6), self.number(6))

    def hardswish(self, *numbers: float) -> relax.Expr:
        if not numbers:
            return op.multiply(self.x, self.hard())
        inner = op.add(self.times(numbers[0]), self.number(numbers[1]))
        return op.multiply(self.x, op.clip(inner, 0, 1))

    def silu(self, b: float = 1.0) -> relax.Expr:
        return op.nn.silu(self.x) if b == 1 else op.multiply(self.x, op.sigmoid(self.times(b)))

    def softplus(self) -> relax.Expr:
        power = op.exp(op.negative(op.abs(self.x)))
        return op.add(op.nn.relu(self.x), op.log(op.add(power, self.number(1))))

    def elu(self, p: float, n: float) -> relax.Expr:
        """exp(x) - 1 by tanh(x / 2) = t as 2 t / (1 - t), which loses no digits near 0."""
        below = op.clip(self.x, -math.inf, 0)
        t = op.tanh(op.multiply(below, self.number(0.5)))
        grown = op.divide(op.multiply(t, self.number(2 * n)), op.subtract(self.number(1), t))
        return op.where(op.greater(self.x, self.number(0)), self.times(p), grown)
