"""Pooling: divisors of one's own, and where the largest elements are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.frontend.apart.registry import Decomposition, apart, aten

#: Those that return places too: what to do where these are used.
WITH_INDICES: dict[Any, Decomposition] = {}


@apart(aten.avg_pool2d.default)
def avg_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    return _divided(2, x, kernel_size, stride, padding, ceil_mode, divisor_override)


@apart(aten.avg_pool3d.default)
def avg_pool3d(
    x: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    return _divided(3, x, kernel_size, stride, padding, ceil_mode, divisor_override)


@apart(aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
def max_pool_by_its_size(
    x: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:  # fmt: skip
    """No stride is that of the window."""
    if stride:
        return NotImplemented
    pool = {2: aten.max_pool2d_with_indices, 3: aten.max_pool3d_with_indices}[len(kernel_size)]
    return pool.default(x, kernel_size, kernel_size, padding, dilation, ceil_mode)


def _divided(
    rank: int, x: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    divisor: int | None,
) -> Any:  # fmt: skip
    """A sum over windows is a mean of padded ones times their size."""
    if divisor is None:
        return NotImplemented
    kernel, strides, pads = (_each(v, rank) for v in (kernel_size, stride or kernel_size, padding))
    padded = F.pad(x, _margins(x, kernel, strides, pads, ceil_mode))
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
    return pool(padded, kernel, strides) * (math.prod(kernel) / divisor)


def _margins(
    x: Tensor, kernel: list[int], strides: list[int], pads: list[int], ceil_mode: bool,
    dilation: Sequence[int] = (1, 1, 1),
) -> list[int]:  # fmt: skip
    """What windows reach beyond the tensor, as :func:`torch.nn.functional.pad` takes it."""
    rank = len(kernel)
    found: list[int] = []
    for axis in reversed(range(rank)):
        size, reach = x.shape[x.ndim - rank + axis], (kernel[axis] - 1) * dilation[axis] + 1
        step, pad = strides[axis], pads[axis]
        count = _count(size, reach, step, pad, ceil_mode)
        found += [pad, (count - 1) * step + reach - size - pad]
    return found


def _count(size: int, reach: int, step: int, pad: int, ceil_mode: bool) -> int:
    rest = size + 2 * pad - reach
    count = (-(-rest // step) if ceil_mode else rest // step) + 1
    if ceil_mode and (count - 1) * step >= size + pad:
        count -= 1  # the last window would start behind the tensor
    return count


def _each(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _with_places(rank: int) -> Decomposition:
    def pooled(
        x: Tensor, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        kernel, strides, pads, apart_by = (
            _each(v, rank) for v in (kernel_size, stride or kernel_size, padding, dilation)
        )
        windows = []
        for axis, size in enumerate(x.shape[-rank:]):
            reach = (kernel[axis] - 1) * apart_by[axis] + 1
            count = _count(size, reach, strides[axis], pads[axis], ceil_mode)
            first = torch.arange(count) * strides[axis] - pads[axis]
            windows.append(first.unsqueeze(1) + torch.arange(kernel[axis]) * apart_by[axis])
        return _largest(x, windows)

    return pooled


WITH_INDICES[aten.max_pool2d_with_indices.default] = _with_places(2)
WITH_INDICES[aten.max_pool3d_with_indices.default] = _with_places(3)


@apart(aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default)
def adaptive_max_pool(x: Tensor, output_size: Any) -> tuple[Tensor, Tensor]:
    """Windows may differ in length by one: the shorter ones reach nowhere with their last place."""
    rank = len(output_size)
    windows = []
    for size, count in zip(x.shape[-rank:], output_size, strict=True):
        number = torch.arange(count)
        first, last = number * size // count, ((number + 1) * size + count - 1) // count
        most = max((i + 1) * size // count + 1 - i * size // count for i in range(count))
        at = first.unsqueeze(1) + torch.arange(most)
        windows.append(torch.where(at < last.unsqueeze(1), at, -1))
    return _largest(x, windows)


def _largest(x: Tensor, windows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of windows over the last axes, ``[count, length]`` places for each axis, those outside of the
    tensor left out; and its place in the tensor, the first of several."""
    rank = len(windows)
    sizes, lead = list(x.shape[-rank:]), list(x.shape[:-rank])
    place, inside = torch.zeros((), dtype=torch.int64), torch.ones((), dtype=torch.bool)
    for axis, (at, size) in enumerate(zip(windows, sizes, strict=True)):
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = at.shape
        spread = at.reshape(shape)
        inside = inside & (spread >= 0) & (spread < size)
        place = place * size + torch.clamp(spread, 0, size - 1)
    place, inside = place.reshape(-1), inside.reshape(-1)
    counts = [at.shape[0] for at in windows]
    length = math.prod(at.shape[1] for at in windows)
    flat = x.reshape([math.prod(lead), math.prod(sizes)])
    seen = torch.where(inside, torch.index_select(flat, 1, place), -math.inf)
    seen = seen.reshape([math.prod(lead), math.prod(counts), length])
    table = (torch.arange(math.prod(counts)) * length).unsqueeze(0) + seen.argmax(-1)
    where = torch.index_select(place, 0, table.reshape(-1))
    return seen.amax(-1).reshape([*lead, *counts]), where.reshape([*lead, *counts])


@apart(aten.fractional_max_pool2d.default, aten.fractional_max_pool3d.default)
def fractional_max_pool(
    x: Tensor, kernel_size: Any, output_size: Any, random_samples: Tensor
) -> tuple[Tensor, Tensor]:
    """Windows of one length at places that the samples, one for each image, channel and axis, say.
    The last one ends where the tensor does."""
    rank = len(output_size)
    sizes, lead = list(x.shape[-rank:]), list(x.shape[:-rank])
    samples = random_samples.reshape([-1, rank]).narrow(0, 0, math.prod(lead))
    place = torch.zeros((), dtype=torch.int64)
    for axis, (size, count, length) in enumerate(
        zip(sizes, output_size, _each(kernel_size, rank), strict=True)
    ):
        # of volumes the first sample is for the first axis, of images for the last
        number = axis if rank == 3 else rank - 1 - axis
        at = _starts(samples.select(1, number), size, count, length)
        at = at.unsqueeze(-1) + torch.arange(length)
        shape = [at.shape[0]] + [1] * (2 * rank)
        shape[1 + axis], shape[1 + rank + axis] = count, length
        place = place * size + at.reshape(shape)
    windows = place.reshape([place.shape[0], math.prod(output_size), -1])
    flat = x.reshape([windows.shape[0], math.prod(sizes)])
    seen = torch.gather(flat, 1, windows.reshape([windows.shape[0], -1])).reshape(windows.shape)
    where = torch.gather(windows, 2, seen.argmax(-1, True))
    shape = [*lead, *output_size]
    return seen.amax(-1).reshape(shape), where.reshape(shape)


def _starts(sample: Tensor, size: int, count: int, length: int) -> Tensor:
    """``[samples, count]``: where windows begin."""
    last = size - length
    if count == 1:
        return torch.full([sample.shape[0], 1], last)
    step = last / (count - 1)
    first = torch.floor(sample * step).to(torch.int64).unsqueeze(1)
    number = torch.arange(count).to(sample.dtype)
    starts = torch.floor((number + sample.unsqueeze(1)) * step).to(torch.int64) - first
    return torch.where(torch.arange(count) == count - 1, last, starts)
