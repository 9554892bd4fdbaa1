"""Relax operators -> TIR: TVM's rules, and our own where TVM's compute something else.

TVM normalises by E[x²] - E[x]², which cancels: NaN for a constant image, anything for a large mean.
Here the mean is taken off first. Code that is not scheduled sums in two steps, of rows and of their
sums, so that what is lost grows with the root of a large image's size instead of with it; the
schedule of ``rest/reductions.py`` sees to that itself, and gets plain sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from tvm_flow.schedules.contract.dtypes import FLOAT32

Expression = Any
Rule = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]
#: The sum of a tensor over some axes, in the order of those that are kept.
Sum = Callable[[te.Tensor, Sequence[int], Sequence[int]], te.Tensor]


def legalise(*, unscheduled: bool = False) -> tvm.transform.Pass:
    """Reshapes stay what they are: the same memory under another shape. ``unscheduled``: for code
    that runs as it is written."""
    rules = _rules(_sum_of_rows if unscheduled else _sum)
    return relax.transform.LegalizeOps(rules, skip_ops=["relax.reshape"])


def _rules(total: Sum) -> dict[str, Rule]:
    return {
        "relax.mean": _reduction(lambda x, axes: _mean(x, axes, total)),
        "relax.sum": _reduction(lambda x, axes: total(x, axes, _kept(x, axes))),
        "relax.max": _reduction(partial(_extreme, combine=tirx.max, start=-math.inf)),
        "relax.min": _reduction(partial(_extreme, combine=tirx.min, start=math.inf)),
        "relax.nn.layer_norm": partial(_layer_norm, total=total),
        "relax.nn.group_norm": partial(_group_norm, total=total),
        "relax.nn.instance_norm": partial(_instance_norm, total=total),
    }


def _layer_norm(builder: relax.BlockBuilder, call: relax.Call, total: Sum) -> relax.Expr:
    return builder.call_te(
        partial(_normalised_axes, total=total),
        *call.args, _ints(call.attrs.axes), float(call.attrs.epsilon),
        primfunc_name_hint="layer_norm",
    )  # fmt: skip


def _group_norm(builder: relax.BlockBuilder, call: relax.Call, total: Sum) -> relax.Expr:
    return _grouped(builder, call, int(call.attrs.num_groups), "group_norm", total)


def _instance_norm(builder: relax.BlockBuilder, call: relax.Call, total: Sum) -> relax.Expr:
    groups = int(call.args[0].ty.shape.values[int(call.attrs.channel_axis)])
    return _grouped(builder, call, groups, "instance_norm", total)


def _grouped(
    builder: relax.BlockBuilder, call: relax.Call, groups: int, name: str, total: Sum
) -> relax.Expr:
    """The channels as [groups, channels of one]: then a group is an axis like any other."""
    a, (x, gamma, beta) = call.attrs, call.args
    shape = [int(size) for size in x.ty.shape.values]
    channel = int(a.channel_axis) % len(shape)
    split = [*shape[:channel], groups, shape[channel] // groups, *shape[channel + 1 :]]
    made = builder.call_te(
        partial(_normalised_groups, total=total),
        builder.emit(relax.op.reshape(x, split)),
        builder.emit(relax.op.reshape(gamma, split[channel : channel + 2])),
        builder.emit(relax.op.reshape(beta, split[channel : channel + 2])),
        channel, [axis % len(shape) for axis in _ints(a.axes)], float(a.epsilon),
        primfunc_name_hint=name,
    )  # fmt: skip
    return relax.op.reshape(builder.emit(made), shape)


def _reduction(finish: Callable[..., te.Tensor]) -> Rule:
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


def _mean(x: te.Tensor, axes: list[int], total: Sum) -> te.Tensor:
    summed = total(x, axes, _kept(x, axes))
    share = tirx.const(1.0 / math.prod(int(x.shape[a]) for a in axes), x.dtype)
    return te.compute(summed.shape, lambda *place: summed(*place) * share, name="mean")


def _extreme(
    x: te.Tensor, axes: list[int], combine: Callable[..., Expression], start: float
) -> te.Tensor:
    """The largest or smallest of numbers, infinity among them: TVM starts with a finite one."""

    def larger(a: Expression, b: Expression) -> Expression:  # TVM counts the arguments
        return combine(a, b)

    reducer = te.comm_reducer(larger, lambda kind: tirx.const(start, kind), name="extreme")
    return _reduced(x, axes, _kept(x, axes), reducer, "extreme")


def _kept(x: te.Tensor, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(len(x.shape)) if axis not in axes]


def _ints(values: Any) -> list[int]:
    return [int(v) for v in values]


def _normalised_axes(
    x: te.Tensor, gamma: te.Tensor, beta: te.Tensor, axes: list[int], epsilon: float,
    total: Sum,
) -> te.Tensor:  # fmt: skip
    """``gamma`` and ``beta`` have the shape of the normalised axes."""
    axes = sorted(axis % len(x.shape) for axis in axes)
    standard = _standardised(x, axes, epsilon, total)

    def scaled(*at: Expression) -> Expression:
        place = [at[axis] for axis in axes]
        return standard(*at) * gamma(*place) + beta(*place)

    return te.compute(x.shape, scaled, name="layer_norm")


def _normalised_groups(
    x: te.Tensor, gamma: te.Tensor, beta: te.Tensor, channel: int, axes: list[int],
    epsilon: float, total: Sum,
) -> te.Tensor:  # fmt: skip
    """``channel`` is the axis of groups of ``x``, that of a group's channels is the next. ``gamma``
    and ``beta`` have a value per channel; statistics are those of a group and of ``axes``, which
    are numbered as before the split."""
    reduced = [channel + 1, *(axis + 1 if axis > channel else axis for axis in axes)]
    standard = _standardised(x, sorted(set(reduced)), epsilon, total)

    def scaled(*at: Expression) -> Expression:
        place = (at[channel], at[channel + 1])
        return standard(*at) * gamma(*place) + beta(*place)

    return te.compute(x.shape, scaled, name="group_norm")


def _standardised(x: te.Tensor, axes: Sequence[int], epsilon: float, total: Sum) -> te.Tensor:
    """``x`` less its mean over ``axes``, over the deviation: computed in fp32, in the type of
    ``x``."""
    shape = [int(size) for size in x.shape]
    count = math.prod(shape[axis] for axis in axes)
    kept = _kept(x, axes)

    def at(statistic: te.Tensor, place: Sequence[Expression]) -> Expression:
        return statistic(*[place[axis] for axis in kept])

    wide = topi.cast(x, FLOAT32.value) if x.dtype in ("float16", "bfloat16") else x
    share = tirx.const(1.0 / count, wide.dtype)
    mean = total(wide, axes, kept)
    centred = te.compute(
        shape, lambda *place: wide(*place) - at(mean, place) * share, name="centred"
    )
    squares = te.compute(shape, lambda *place: centred(*place) * centred(*place), name="squares")
    variance = total(squares, axes, kept)
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
    """Sum over ``axes``."""
    return _reduced(x, axes, kept, te.sum, "sum")


def _reduced(
    x: te.Tensor, axes: Sequence[int], kept: Sequence[int], reducer: Any, name: str
) -> te.Tensor:
    over = {axis: te.reduce_axis((0, int(x.shape[axis])), name=f"r{axis}") for axis in axes}

    def element(*place: Expression) -> Expression:
        index = dict(zip(kept, place, strict=True)) | over
        return reducer(x(*(index[axis] for axis in range(len(x.shape)))), list(over.values()))

    return te.compute([int(x.shape[axis]) for axis in kept], element, name=name)


def _sum_of_rows(x: te.Tensor, axes: Sequence[int], kept: Sequence[int]) -> te.Tensor:
    """Sum over ``axes``: of rows first, then of their sums."""
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
