"""Functions of PyTorch's as vector TIR in fp32, over all of their range.

Errors are a few units in the last place; NaN passes, infinities and denormal results come out as
in PyTorch. Nothing branches and nothing calls a library, so a vector costs as much as a number.
``benchmarks/fit_functions.py`` recomputes the constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tvm import tirx

from tvm_flow.schedules.contract.dtypes import FLOAT32, INT32
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    constant,
    convert,
    f32,
    horner,
    maximum,
    minimum,
    reinterpret,
)

#: (exp(r) - 1 - r) / r**2
EXP = (5.000000000e-01, 1.666651368e-01, 4.166625813e-02, 8.369343355e-03, 1.394675579e-03)
#: (log(1 + f) - f + f**2/2) / f**3
LOG = (
    3.333331048e-01, -2.500001490e-01, 2.000220418e-01, -1.666764319e-01, 1.421789080e-01,
    -1.241126880e-01, 1.190471202e-01, -1.164643466e-01, 6.675271690e-02,
)  # fmt: skip
#: (tanh(x)/x - 1) / x**2 in powers of x**2, and up to where
TANH = (
    -3.333332837e-01, 1.333315074e-01, -5.393987894e-02, 2.166323364e-02, -8.085449226e-03,
    2.059547463e-03,
)  # fmt: skip
TANH_END = 0.65
#: erf(x)/x in powers of x**2, for |x| < 1
ERF = (
    1.128379226e00, -3.761263788e-01, 1.128378287e-01, -2.686543763e-02, 5.221053492e-03,
    -8.484396385e-04, 1.126825227e-04, -9.673586646e-06,
)  # fmt: skip
#: log(erfc(u)) for 1 <= u <= 4, where erf becomes 1
ERFC = (
    1.471597643e-04, -1.129333973e00, -6.338582635e-01, -1.074635461e-01, 2.430677786e-02,
    -3.648062237e-03, 2.167663915e-04, 3.541641127e-05, -8.299811270e-06, 5.252718438e-07,
)  # fmt: skip
ERFC_END = 4.0

#: log(2) in two parts: products of the first with whole numbers below 2**9 are exact
LN2_HIGH, LN2_LOW = 0.693359375, -2.12194440054690583e-4
#: What rounds a number of moderate size to a whole one, which its last bits then hold.
ROUND = 1.5 * 2.0**23
ROUND_BITS = 0x4B400000
#: exp is 0 and infinite beyond
EXP_LOW, EXP_HIGH = -104.0, 89.0
SMALLEST_NORMAL = 2.0**-126
MANTISSA = 23
ROOT_HALF_BITS = 0x3F3504F3


def exp(x: Value, width: int) -> Expr:
    """e**x: 2**n times a polynomial of what is left, |r| <= log(2)/2.

    2**n is multiplied in two parts, since n goes from -150 to 128.
    """
    x = bind(minimum(f32(EXP_HIGH, width), maximum(f32(EXP_LOW, width), x())), width)
    shifted = bind(x() * f32(math.log2(math.e), width) + f32(ROUND, width), width)
    n = bind(shifted() - f32(ROUND, width), width)
    r = x() - n() * f32(LN2_HIGH, width)
    r = bind(r - n() * f32(LN2_LOW, width), width)
    series = horner([f32(c, width) for c in (1.0, 1.0, *EXP)], r)
    whole = bind(reinterpret(shifted(), INT32) - constant(ROUND_BITS, width, INT32), width)
    half = bind(whole() >> constant(1, width, INT32), width)
    return series * _power_of_two(half(), width) * _power_of_two(whole() - half(), width)


def _power_of_two(n: Expr, width: int) -> Expr:
    bits = (n + constant(127, width, INT32)) << constant(MANTISSA, width, INT32)
    return reinterpret(bits, FLOAT32)


def log(x: Value, width: int) -> Expr:
    """The natural logarithm: of what is left of x between sqrt(1/2) and sqrt(2), and of 2**n."""
    high, low = _logarithm(x, width)
    return _log_ends(x, high + low, width)


def _logarithm(x: Value, width: int) -> tuple[Expr, Expr]:
    """For positive finite x: n*log(2) + f in its upper part, and what is left."""
    n, f = _exponent_and_fraction(x, width)
    square = bind(f() * f(), width)
    series = horner([f32(c, width) for c in LOG], f) * f() * square()
    rest = bind(series + n() * f32(LN2_LOW, width) - f32(0.5, width) * square(), width)
    return n() * f32(LN2_HIGH, width) + f(), rest()


def _exponent_and_fraction(x: Value, width: int) -> tuple[Value, Value]:
    """n and f with x = 2**n * (1 + f), 1 + f between sqrt(1/2) and sqrt(2)."""
    small = x() < f32(SMALLEST_NORMAL, width)
    scaled = tirx.Select(small, x() * f32(2.0**MANTISSA, width), x())
    bits = bind(reinterpret(scaled, INT32) - constant(ROOT_HALF_BITS, width, INT32), width)
    exponent = convert(bits() >> constant(MANTISSA, width, INT32), FLOAT32)
    n = bind(exponent - tirx.Select(small, f32(MANTISSA, width), f32(0.0, width)), width)
    fraction = tirx.bitwise_and(bits(), constant((1 << MANTISSA) - 1, width, INT32))
    m = reinterpret(fraction + constant(ROOT_HALF_BITS, width, INT32), FLOAT32)
    return n, bind(m - f32(1.0, width), width)


def _log_ends(x: Value, result: Expr, width: int) -> Expr:
    """Of 0, negative numbers, infinity and NaN."""
    zero, infinity = f32(0.0, width), f32(math.inf, width)
    ends = tirx.Select(x() < infinity, result, x())  # of infinity and NaN themselves
    ends = tirx.Select(x().equal(zero), f32(-math.inf, width), ends)
    return tirx.Select(x() < zero, f32(math.nan, width), ends)


def log1p(x: Value, width: int) -> Expr:
    """log(1 + x), with what 1 + x loses in rounding made good."""
    one = f32(1.0, width)
    u = bind(x() + one, width)
    lost = bind((x() - (u() - one)) / u(), width)
    made_good = log(u, width) + tirx.Select(u() < f32(math.inf, width), lost(), f32(0.0, width))
    return tirx.Select(u().equal(one), x(), tirx.Select(u() > f32(0.0, width), made_good,
                                                        log(u, width)))  # fmt: skip


def sigmoid(x: Value, width: int) -> Expr:
    negative = bind(f32(0.0, width) - x(), width)
    return f32(1.0, width) / (f32(1.0, width) + exp(negative, width))


def tanh(x: Value, width: int) -> Expr:
    """x plus a polynomial near 0; else by the exponential, which is 1 to all digits from 9 on."""
    u = bind(tirx.abs(x()), width)
    square = bind(x() * x(), width)
    near = horner([f32(c, width) for c in TANH], square) * square() * x() + x()
    twice = bind(u() + u(), width)
    far = f32(1.0, width) - f32(2.0, width) / (f32(1.0, width) + exp(twice, width))
    return tirx.Select(u() < f32(TANH_END, width), near, _with_sign(far, x(), width))


def erf(x: Value, width: int) -> Expr:
    """A polynomial for |x| < 1, else 1 - exp of one."""
    u = bind(tirx.abs(x()), width)
    square = bind(x() * x(), width)
    near = horner([f32(c, width) for c in ERF], square) * x()
    end = bind(minimum(f32(ERFC_END, width), u()), width)
    power = bind(horner([f32(c, width) for c in ERFC], end), width)
    far = f32(1.0, width) - exp(power, width)
    return tirx.Select(u() < f32(1.0, width), near, _with_sign(far, x(), width))


def _with_sign(magnitude: Expr, sign: Expr, width: int) -> Expr:
    """``magnitude``, which is not negative, with the sign bit of another number."""
    bit = constant(-(1 << 31), width, INT32)
    bits = tirx.bitwise_and(reinterpret(sign, INT32), bit)
    return reinterpret(tirx.bitwise_or(reinterpret(magnitude, INT32), bits), FLOAT32)


def rsqrt(x: Value, width: int) -> Expr:
    return f32(1.0, width) / tirx.sqrt(x())


def _scaled(function: Callable[[Value, int], Expr], factor: float) -> Callable[[Value, int], Expr]:
    return lambda x, width: function(x, width) * f32(factor, width)


#: By TVM's names of the functions of one number.
FUNCTIONS: Mapping[str, Callable[[Value, int], Expr]] = {
    "tirx.exp": exp,
    "tirx.log": log,
    "tirx.log2": _scaled(log, math.log2(math.e)),
    "tirx.log10": _scaled(log, math.log10(math.e)),
    "tirx.log1p": log1p,
    "tirx.sigmoid": sigmoid,
    "tirx.tanh": tanh,
    "tirx.erf": erf,
    "tirx.rsqrt": rsqrt,
}


def power(x: Expr, exponent: Expr, width: int) -> Expr:
    """x**exponent; by products or a root where the exponent is a constant that allows it."""
    known = _constant_of(exponent)
    base = bind(x, width)
    if known is not None:
        made = _constant_power(base, known, width)
        if made is not None:
            return made
    return _general_power(base, bind(exponent, width), width)


def _constant_of(value: Expr) -> float | None:
    inner = value.value if isinstance(value, tirx.Broadcast) else value
    return float(inner.value) if isinstance(inner, tirx.FloatImm) else None


def _constant_power(x: Value, exponent: float, width: int) -> Expr | None:
    """The exponents that PyTorch computes otherwise as well."""
    one = f32(1.0, width)
    known: Mapping[float, Callable[[], Expr]] = {
        0.0: lambda: one,
        1.0: x,
        2.0: lambda: x() * x(),
        3.0: lambda: x() * x() * x(),
        0.5: lambda: tirx.sqrt(x()),
        -0.5: lambda: one / tirx.sqrt(x()),
        -1.0: lambda: one / x(),
        -2.0: lambda: one / (x() * x()),
    }
    return known[exponent]() if exponent in known else None


def _general_power(x: Value, y: Value, width: int) -> Expr:
    """exp(y * log|x|), the logarithm and the product to twice fp32's digits; then the ends and the
    sign."""
    zero, one, infinity = f32(0.0, width), f32(1.0, width), f32(math.inf, width)
    size = bind(tirx.abs(x()), width)
    high, low = _precise_logarithm(size, width)
    product = bind(y() * high(), width)
    rest = bind(_fma(y(), high(), zero - product(), width) + y() * low(), width)
    rough = bind(exp(product, width), width)
    made = tirx.Select(rough() < infinity, rough() + rough() * rest(), rough())
    rises = y() > zero
    made = tirx.Select(size().equal(infinity), tirx.Select(rises, infinity, zero), made)
    made = tirx.Select(size().equal(zero), tirx.Select(rises, zero, infinity), made)
    magnitude = bind(tirx.Select(size() <= infinity, made, x()), width)
    half = bind(y() * f32(0.5, width), width)
    odd = (half() - tirx.floor(half())).equal(f32(0.5, width))
    below = reinterpret(x(), INT32) < constant(0, width, INT32)
    signed = tirx.Select(odd, zero - magnitude(), magnitude())
    signed = bind(tirx.Select(below, signed, magnitude()), width)
    no_root = tirx.Select(size() < infinity, f32(math.nan, width), magnitude())
    root = tirx.Select(tirx.floor(y()).equal(y()), signed(), no_root)
    result = bind(tirx.Select(x() < zero, root, signed()), width)
    result = bind(tirx.Select(x().equal(one), one, result()), width)
    return tirx.Select(y().equal(zero), one, result())


def _precise_logarithm(x: Value, width: int) -> tuple[Value, Value]:
    """The same as :func:`_logarithm`, in two parts that do not overlap."""
    n, f = _exponent_and_fraction(x, width)
    whole = bind(n() * f32(LN2_HIGH, width), width)
    first = bind(whole() + f(), width)
    lost = bind(f() - (first() - whole()), width)
    square = bind(f() * f(), width)
    half = bind(f32(0.5, width) * square(), width)
    high = bind(first() - half(), width)
    lost = bind(lost() + ((first() - high()) - half()), width)
    lost = bind(lost() - f32(0.5, width) * _fma(f(), f(), f32(0.0, width) - square(), width), width)
    series = horner([f32(c, width) for c in LOG], f) * f() * square()
    low = bind(lost() + n() * f32(LN2_LOW, width) + series, width)
    total = bind(high() + low(), width)
    return total, bind(low() - (total() - high()), width)


def _fma(a: Expr, b: Expr, c: Expr, width: int) -> Expr:
    """a*b + c, rounded once."""
    return tirx.call_llvm_pure_intrin(FLOAT32.vector(width), "llvm.fma", a, b, c)
