"""Relax operators -> TIR: TVM's rules, and our own where TVM's compute something else.

TVM normalises by E[x²] - E[x]², which cancels: NaN for a constant image, anything for a large mean.
Here the mean is taken off first, and sums are made in two steps, of rows and of their sums, so that
what is lost grows with the root of a large image's size instead of with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from tvm_flow.schedules.contract.dtypes import FLOAT32

Expression = Any


def legalise() -> tvm.transform.Pass:
    """Reshapes stay what they are: the same memory under another shape."""
    return relax.transform.LegalizeOps(dict(_OURS), skip_ops=["relax.reshape"])


def _layer_norm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return builder.call_te(
        _normalised_axes, *call.args, _ints(call.attrs.axes), float(call.attrs.epsilon),
        primfunc_name_hint="layer_norm",
    )  # fmt: skip


def _group_norm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    a = call.attrs
    return builder.call_te(
        _normalised_groups, *call.args, int(a.num_groups), int(a.channel_axis), _ints(a.axes),
        float(a.epsilon), primfunc_name_hint="group_norm",
    )  # fmt: skip


def _instance_norm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    a, x = call.attrs, call.args[0]
    groups = int(x.ty.shape.values[int(a.channel_axis)])
    return builder.call_te(
        _normalised_groups, *call.args, groups, int(a.channel_axis), _ints(a.axes),
        float(a.epsilon), primfunc_name_hint="instance_norm",
    )  # fmt: skip


def _reduction(finish: Callable[..., te.Tensor]) -> Callable[..., relax.Expr]:
    """The rule for an operator that reduces axes, by what ``finish`` makes of tensor and axes."""

    def rule(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        x = call.args[0]
        axes = call.attrs.axis
        rank = len(x.ty.shape.values)
        reduced = list(range(rank)) if axes is None else sorted(a % rank for a in _ints(axes))
        if not str(x.ty.dtype).startswith("float") or not reduced:
            return call.op.get_attr("FLegalize")(builder, call)
        made = builder.call_te(finish, x, reduced, primfunc_name_hint=call.op.name[6:])
        return relax.op.reshape(builder.emit(made), call.ty.shape)

    return rule


def _total(x: te.Tensor, axes: list[int]) -> te.Tensor:
    return _sum(x, axes, _kept(x, axes))


def _mean(x: te.Tensor, axes: list[int]) -> te.Tensor:
    total = _total(x, axes)
    share = tirx.const(1.0 / math.prod(int(x.shape[a]) for a in axes), x.dtype)
    return te.compute(total.shape, lambda *place: total(*place) * share, name="mean")


def _kept(x: te.Tensor, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(len(x.shape)) if axis not in axes]


_OURS = {
    "relax.mean": _reduction(_mean),
    "relax.sum": _reduction(_total),
    "relax.nn.layer_norm": _layer_norm,
    "relax.nn.group_norm": _group_norm,
    "relax.nn.instance_norm": _instance_norm,
}


def _ints(values: Any) -> list[int]:
    return [int(v) for v in values]


def _normalised_axes(
    x: te.Tensor, gamma: te.Tensor, beta: te.Tensor, axes: list[int], epsilon: float
) -> te.Tensor:
    """``gamma`` and ``beta`` have the shape of the normalised axes."""
    axes = sorted(axis % len(x.shape) for axis in axes)
    standard = _standardised(x, axes, epsilon)

    def scaled(*at: Expression) -> Expression:
        place = [at[axis] for axis in axes]
        return standard(*at) * gamma(*place) + beta(*place)

    return te.compute(x.shape, scaled, name="layer_norm")


def _normalised_groups(
    x: te.Tensor, gamma: te.Tensor, beta: te.Tensor, groups: int, channel_axis: int,
    axes: list[int], epsilon: float,
) -> te.Tensor:  # fmt: skip
    """``gamma`` and ``beta`` have a value per channel; statistics are those of a group of channels
    and of ``axes``."""
    rank = len(x.shape)
    channel = channel_axis % rank
    shape = [int(size) for size in x.shape]
    split = [*shape[:channel], groups, shape[channel] // groups, *shape[channel + 1 :]]
    # the axes of the split tensor: what is behind the channels has moved by one
    reduced = [channel + 1, *(a + 1 if a > channel else a for a in (a % rank for a in axes))]
    standard = _standardised(topi.reshape(x, split), sorted(set(reduced)), epsilon)
    per_group = shape[channel] // groups

    def scaled(*at: Expression) -> Expression:
        c = at[channel]
        inner = (*at[:channel], c // per_group, c % per_group, *at[channel + 1 :])
        return standard(*inner) * gamma(c) + beta(c)

    return te.compute(x.shape, scaled, name="group_norm")


def _standardised(x: te.Tensor, axes: Sequence[int], epsilon: float) -> te.Tensor:
    """``x`` less its mean over ``axes``, over the deviation: computed in fp32, in the type of
    ``x``."""
    shape = [int(size) for size in x.shape]
    count = math.prod(shape[axis] for axis in axes)
    kept = _kept(x, axes)

    def at(statistic: te.Tensor, place: Sequence[Expression]) -> Expression:
        return statistic(*[place[axis] for axis in kept])

    wide = topi.cast(x, FLOAT32.value) if x.dtype in ("float16", "bfloat16") else x
    share = tirx.const(1.0 / count, wide.dtype)
    mean = _sum(wide, axes, kept)
    centred = te.compute(
        shape, lambda *place: wide(*place) - at(mean, place) * share, name="centred"
    )
    squares = te.compute(shape, lambda *place: centred(*place) * centred(*place), name="squares")
    variance = _sum(squares, axes, kept)
    small = tirx.const(epsilon, wide.dtype)
    factor = te.compute(
        [shape[axis] for axis in kept],
        lambda *place: tirx.const(1.0, wide.dtype) / te.sqrt(variance(*place) * share + small),
        name="factor",
    )
    standard = te.compute(
        shape, lambda *place: centred(*place) * at(factor, place), name="standard"
    )
    return topi.cast(standard, x.dtype) if wide is not x else standard


def _sum(x: te.Tensor, axes: Sequence[int], kept: Sequence[int]) -> te.Tensor:
    """Sum over ``axes``, in the order of the ``kept`` ones: of rows first, then of their sums."""
    shape = [int(size) for size in x.shape]
    total = math.prod(shape[axis] for axis in axes)
    row = _near_root(total)
    inner = te.reduce_axis((0, row), name="i")
    outer = te.reduce_axis((0, total // row), name="o")

    def element(place: Sequence[Expression], number: Expression) -> Expression:
        """Number ``number`` of those that are summed at ``place``."""
        index: list[Expression] = [None] * len(shape)
        for axis, value in zip(kept, place, strict=True):
            index[axis] = value
        for axis in reversed(axes):
            index[axis] = number % shape[axis]
            number = number // shape[axis]
        return x(*index)

    sizes = [shape[axis] for axis in kept]
    rows = te.compute(
        [*sizes, total // row],
        lambda *place: te.sum(element(place[:-1], place[-1] * row + inner), axis=inner),
        name="rows",
    )
    return te.compute(
        sizes, lambda *place: te.sum(rows(*place, outer), axis=outer), name="sum_of_rows"
    )


def _near_root(total: int) -> int:
    """The divisor of ``total`` that is nearest to its root from above."""
    return next(d for d in range(math.isqrt(max(total - 1, 0)) + 1, total + 1) if total % d == 0)
