"""Functions of single elements."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten


@apart(aten.elu.default)
def elu(x: Tensor, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """SELU arrives as one whose result is scaled."""
    negative = torch.expm1(torch.clamp(x * input_scale, max=0)) * (alpha * scale)
    return torch.where(x > 0, x * scale, negative)


@apart(aten.expm1.default)
def expm1(x: Tensor) -> Any:
    """By its series where e**x is so near to one that the difference cancels."""
    if not x.is_floating_point():
        return NotImplemented
    small = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6)))))
    return torch.where(x.abs() < 0.3, small, torch.exp(x) - 1)


@apart(aten.exp2.default)
def exp2(x: Tensor) -> Any:
    return torch.exp(x * math.log(2)) if x.is_floating_point() else NotImplemented


@apart(aten.log1p.default)
def log1p(x: Tensor) -> Any:
    """What is lost in ``1 + x`` is known: the quotient makes up for it."""
    if not x.is_floating_point():
        return NotImplemented
    whole = 1 + x
    lost = whole - 1
    kept = torch.where(lost == 0, 1.0, lost)
    corrected = torch.where(lost == 0, x, torch.log(whole) * (x / kept))
    return torch.where(x == math.inf, x, corrected)


@apart(aten.sinh.default)
def sinh(x: Tensor) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    grown = torch.expm1(x.abs())
    whole = torch.where(
        grown > 1e18, torch.exp(x.abs() - math.log(2)), (grown + grown / (grown + 1)) / 2
    )
    return torch.where(x < 0, -whole, whole)


@apart(aten.cosh.default)
def cosh(x: Tensor) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    half = torch.exp(x.abs() - math.log(2))
    return half + torch.exp(-x.abs() - math.log(2))


@apart(aten.softplus.default)
def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    scaled = x * beta
    curved = torch.clamp(scaled, min=0) + torch.log1p(torch.exp(-scaled.abs()))
    return torch.where(scaled > threshold, x, curved / beta)


@apart(aten.round.decimals)
def round_decimals(x: Tensor, *, decimals: int = 0) -> Tensor:
    if decimals == 0:
        return torch.round(x)
    ten = 10.0 ** abs(decimals)
    return torch.round(x * ten) / ten if decimals > 0 else torch.round(x / ten) * ten


@apart(aten.floor_divide.default)
def floor_divide(a: Any, b: Any) -> Any:
    return torch.div(a, b, rounding_mode="floor")


@apart(aten.div.Tensor_mode, aten.div.Scalar_mode)
def div_rounded(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    """Of floating-point numbers by their quotient, as PyTorch does but where that is next to a
    whole number."""
    if rounding_mode is None:
        return torch.div(a, b)
    kind = torch.result_type(a, b)
    if not kind.is_floating_point:
        return NotImplemented
    quotient = torch.div(a, b)
    if rounding_mode == "trunc":
        return torch.trunc(quotient)
    rest = torch.fmod(a, b) if isinstance(b, Tensor) else a - torch.trunc(quotient) * b
    whole = (a - rest) / b
    opposite = (rest != 0) & ((rest < 0) != (b < 0))
    whole = torch.round(torch.where(opposite, whole - 1, whole))
    zero = b == 0 if isinstance(b, Tensor) else torch.full((), b == 0)
    return torch.where(zero, quotient, whole)


@apart(aten.sign.default, aten.sgn.default)
def sign(x: Tensor) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    return torch.where(x > 0, 1.0, torch.where(x < 0, -1.0, x))


@apart(aten.angle.default)
def angle(x: Tensor) -> Any:
    if x.is_complex():
        return NotImplemented
    return torch.where(torch.isnan(x), x, torch.where(x < 0, math.pi, 0.0))


@apart(aten.rrelu_with_noise.default, aten.rrelu_with_noise_functional.default)
def rrelu(x: Tensor, noise: Tensor, lower: float = 0.125, upper: float = 1 / 3, *rest: Any) -> Any:
    if rest and rest[0]:
        return NotImplemented
    return torch.where(x >= 0, x, x * ((lower + upper) / 2))


#: Of log(erfc(z) / t) + z², in powers of t = 1 / (1 + z / 2): a Chebyshev fit, relative error 1e-7.
_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398,
    1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip


@apart(aten.erfc.default, aten.special_erfc.default)
def erfc(x: Tensor) -> Any:
    """Not 1 - erf(x), which is nothing but rounding where erf is next to one."""
    if not x.is_floating_point():
        return NotImplemented
    tail = torch.exp(-x * x) * _scaled_tail(x.abs())
    return torch.where(x < 0, 2 - tail, tail)


@apart(aten.special_erfcx.default)
def scaled_erfc(x: Tensor) -> Any:
    if not x.is_floating_point():
        return NotImplemented
    tail = _scaled_tail(x.abs())
    return torch.where(x < 0, 2 * torch.exp(x * x) - tail, tail)


def _scaled_tail(size: Tensor) -> Tensor:
    """exp(z²) erfc(z) of ``size``, which is not negative."""
    t = 1 / (1 + size / 2)
    power = torch.full((), _ERFC[-1], dtype=size.dtype)
    for factor in reversed(_ERFC[:-1]):
        power = power * t + factor
    return t * torch.exp(power)


@apart(aten.frac.default)
def frac(x: Tensor) -> Tensor:
    return x - torch.trunc(x)


@apart(aten.logaddexp.default)
def logaddexp(a: Tensor, b: Tensor) -> Tensor:
    largest = torch.maximum(a, b)
    made = largest + torch.log1p(torch.exp(-(a - b).abs()))
    return torch.where((a == b) & torch.isinf(a), a, made)


@apart(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign(a: Tensor, b: Any) -> Tensor:
    sign = b if isinstance(b, Tensor) else torch.full((), float(b))
    size = a.abs()
    return torch.where(signbit(sign), -size, size)


@apart(aten.signbit.default)
def signbit(x: Tensor) -> Tensor:
    """That of zero shows in the quotient; that of NaN not at all."""
    return (x < 0) | (1 / x == -math.inf) if x.is_floating_point() else x < 0


@apart(aten.logaddexp2.default)
def logaddexp2(a: Tensor, b: Tensor) -> Tensor:
    unit = math.log(2)
    return torch.logaddexp(a * unit, b * unit) / unit


@apart(aten.fmax.default)
def fmax(a: Tensor, b: Tensor) -> Tensor:
    """What is no number gives way."""
    return torch.where(torch.isnan(a), b, torch.where(torch.isnan(b), a, torch.maximum(a, b)))


@apart(aten.fmin.default)
def fmin(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(torch.isnan(a), b, torch.where(torch.isnan(b), a, torch.minimum(a, b)))


@apart(aten.hypot.default)
def hypotenuse(a: Tensor, b: Tensor) -> Tensor:
    """Of the larger by the smaller, so that no square overflows."""
    largest = torch.maximum(a.abs(), b.abs())
    scale = torch.where((largest == 0) | torch.isinf(largest), 1.0, largest)
    x, y = a / scale, b / scale
    return scale * torch.sqrt(x * x + y * y)
