"""Activations by name, some with numbers: their text in problems, and what they are in float64.

The text is the name, then the numbers after colons: ``relu``, ``clip:-1:1``, ``leakyrelu:0.1``.

  clip:low:high         either bound may be infinite
  hardswish:a:b         x * clip(a x + b, 0, 1)
  silu:b                x / (1 + exp(-b x))
  leakyrelu:a           a x where x is negative
  elu:p:n               p x where x is positive, else n (exp(x) - 1): ELU, SELU, CELU of 1
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tvm_flow.schedules.contract.dtypes import FLOAT32, DType
from tvm_flow.schedules.contract.tensor import Array

Function = Callable[[np.ndarray], Any]

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _softplus(v: np.ndarray) -> Any:
    return np.logaddexp(0, v)


_PLAIN: dict[str, Function] = {
    "none": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "relu6": lambda v: np.clip(v, 0, 6),
    "gelu": lambda v: 0.5 * v * (1 + _ERF(v / math.sqrt(2))),
    "hardsigmoid": lambda v: np.clip(v / 6 + 0.5, 0, 1),
    "hardswish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "silu": lambda v: v / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "softplus": _softplus,
    "mish": lambda v: v * np.tanh(_softplus(v)),
    "gelu_tanh": lambda v: (
        0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v)))
    ),
}
_WITH_NUMBERS: dict[str, Callable[..., Any]] = {
    "clip": np.clip,
    "hardswish": lambda v, a, b: v * np.clip(a * v + b, 0, 1),
    "silu": lambda v, b: v / (1 + np.exp(-b * v)),
    "leakyrelu": lambda v, a: np.where(v > 0, v, a * v),
    "elu": lambda v, p, n: np.where(v > 0, p * v, n * np.expm1(np.minimum(v, 0))),
}
#: Names of the activations without numbers.
ACTIVATIONS = tuple(_PLAIN)
#: Activations that are exact in any type; of integers, the others depend on what these stand for.
EXACT_ACTIVATIONS = frozenset({"none", "relu", "relu6"})
#: Digits of numbers in texts: as many as tell fp32 apart.
_DIGITS = 9


def text_of(name: str, *numbers: float) -> str:
    """The text of an activation, as short as fp32 allows."""
    return ":".join([name, *(_short(number) for number in numbers)])


def _short(number: float) -> str:
    rounded, texts = FLOAT32.numpy.type, (f"{number:.{n}g}" for n in range(1, _DIGITS + 1))
    return next((t for t in texts if rounded(t) == rounded(number)), f"{number:.{_DIGITS}g}")


def parse(text: str) -> tuple[str, tuple[float, ...]]:
    """Name and numbers. Raises ``ValueError`` for what is no activation."""
    name, *given = text.split(":")
    known = _WITH_NUMBERS if given else _PLAIN
    if name not in known:
        raise ValueError(f"no activation {text!r}")
    return name, tuple(float(number) for number in given)


def function(text: str) -> Function:
    """An activation of float64. Raises as :func:`parse` does."""
    name, numbers = parse(text)
    if not numbers:
        return _PLAIN[name]
    return lambda v: _WITH_NUMBERS[name](v, *numbers)


def require_scale(name: str, dtype: DType) -> None:
    """Raises ``ValueError`` for an activation of integers whose scale would have to be known."""
    if name not in EXACT_ACTIVATIONS and not dtype.is_float:
        raise ValueError(f"{name} of {dtype} depends on its scale: convert it to fp32 first")


def activation(text: str, x: Array) -> Array:
    """An activation in float64, rounded to the type of ``x`` once. Raises as
    :func:`require_scale` and :func:`parse` do."""
    require_scale(text, DType.of(x))
    return np.asarray(function(text)(x.astype(np.float64))).astype(x.dtype)
