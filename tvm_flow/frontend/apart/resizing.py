"""Interpolation where TVM's computes at other places than PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tvm_flow.frontend.apart.registry import apart, aten


@apart(aten.upsample_nearest2d.vec)
def nearest(x: Tensor, output_size: Any, scale_factors: Any) -> Any:
    """TVM's is right where every pixel is repeated a whole number of times."""
    sizes = _target(x, output_size, scale_factors)
    if all(new % old == 0 for old, new in zip(x.shape[2:], sizes, strict=True)):
        return NotImplemented
    return _nearest(x, sizes, scale_factors or (None, None), 0.0)


@apart(
    aten.upsample_nearest1d.default, aten.upsample_nearest2d.default,
    aten.upsample_nearest3d.default,
)  # fmt: skip
def nearest_by_scales(x: Tensor, output_size: Any, *scales: Any) -> Tensor:
    return _nearest(x, output_size, scales or (None,) * len(output_size), 0.0)


@apart(
    aten._upsample_nearest_exact1d.default, aten._upsample_nearest_exact2d.default,
    aten._upsample_nearest_exact3d.default,
)  # fmt: skip
def nearest_to_centre(x: Tensor, output_size: Any, *scales: Any) -> Tensor:
    return _nearest(x, output_size, scales or (None,) * len(output_size), 0.5)


def _nearest(x: Tensor, sizes: Any, scales: Any, centre: float) -> Tensor:
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True), 2):
        old = x.shape[axis]
        step = 1.0 / scale if scale else old / new
        place = torch.floor((torch.arange(new).float() + centre) * step).to(torch.int64)
        x = torch.index_select(x, axis, torch.clamp(place, max=old - 1))
    return x


@apart(aten.upsample_bilinear2d.vec)
def bilinear(x: Tensor, output_size: Any, align_corners: bool, scale_factors: Any) -> Any:
    plain = aten.upsample_bilinear2d.default
    return _by_factors(plain, x, output_size, align_corners, scale_factors)


@apart(aten.upsample_bicubic2d.vec)
def bicubic(x: Tensor, output_size: Any, align_corners: bool, scale_factors: Any) -> Any:
    plain = aten.upsample_bicubic2d.default
    return _by_factors(plain, x, output_size, align_corners, scale_factors)


def _by_factors(
    plain: Any, x: Tensor, output_size: Any, align_corners: bool, scale_factors: Any
) -> Any:
    """PyTorch samples at 1 / scale_factor, TVM at the ratio of the rounded sizes."""
    sizes = _target(x, output_size, scale_factors)
    if _as_sizes_say(x, scale_factors, sizes):
        return NotImplemented
    return plain(x, sizes, align_corners, *scale_factors)


def _as_sizes_say(x: Tensor, scale_factors: Any, sizes: list[int]) -> bool:
    """Whether the factors are the ratio of the sizes."""
    return scale_factors is None or all(
        abs(old * factor - new) < 1e-6
        for old, factor, new in zip(x.shape[2:], scale_factors, sizes, strict=True)
    )


def _target(x: Tensor, output_size: Any, scale_factors: Any) -> list[int]:
    if output_size is not None:
        return [int(size) for size in output_size]
    return [int(size * factor) for size, factor in zip(x.shape[2:], scale_factors, strict=True)]


@apart(aten._upsample_bilinear2d_aa.default)
def bilinear_antialiased(
    x: Tensor, output_size: Any, align_corners: bool, scales_h: Any = None, scales_w: Any = None
) -> Tensor:
    return _separable(x, output_size, align_corners, (scales_h, scales_w), _triangle, 1.0)


@apart(aten._upsample_bicubic2d_aa.default)
def bicubic_antialiased(
    x: Tensor, output_size: Any, align_corners: bool, scales_h: Any = None, scales_w: Any = None
) -> Tensor:
    return _separable(x, output_size, align_corners, (scales_h, scales_w), _cubic, 2.0)


def _separable(
    x: Tensor, sizes: Any, align: bool, scales: tuple[Any, Any], kernel: Any, support: float
) -> Tensor:
    """Rows and columns are each a product with a matrix, which does not depend on the input."""
    rows = _matrix(x.shape[2], sizes[0], align, scales[0], kernel, support)
    columns = _matrix(x.shape[3], sizes[1], align, scales[1], kernel, support)
    return torch.matmul(rows, torch.matmul(x, columns.t()))


def _matrix(old: int, new: int, align: bool, scale: Any, kernel: Any, support: float) -> Tensor:
    """``[new, old]``: the share of each old element in each new one."""
    if align:
        step = (old - 1) / (new - 1) if new > 1 else 0.0
    else:
        step = 1.0 / scale if scale else old / new
    stretch = max(step, 1.0)
    centre = step * (torch.arange(new).float() + 0.5)
    low = torch.clamp((centre - support * stretch + 0.5).to(torch.int64), min=0)
    high = torch.clamp((centre + support * stretch + 0.5).to(torch.int64), max=old)
    at = torch.arange(old)
    inside = (at >= low.unsqueeze(1)) & (at < high.unsqueeze(1))
    distance = (at.float() + 0.5 - centre.unsqueeze(1)) / stretch
    weight = torch.where(inside, kernel(distance), 0.0)
    return weight / weight.sum(1, True)


def _triangle(distance: Tensor) -> Tensor:
    return torch.clamp(1 - distance.abs(), min=0)


def _cubic(distance: Tensor) -> Tensor:
    """With a = -0.5, as PyTorch takes it where it filters."""
    a, x = -0.5, distance.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
