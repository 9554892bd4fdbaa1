"""Single layers that users' models have, of a million multiply-accumulates or more, by kind.

What :mod:`benchmarks.cliff` sweeps. A kind is added by a function that makes its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

SEED = 0


@dataclass(frozen=True)
class Layer:
    """One layer with the shape of its one fp32 input (N, C, H, W)."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], nn.Module]

    def module(self) -> nn.Module:
        """In eval mode, the same weights each time; it says what shape it takes."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            module = self.make().eval()
        module.example_input_shape = self.shape  # type: ignore[assignment]
        return module


def _conv(ci: int, co: int, size: int, k: int = 3, *, n: int = 1, **more: Any) -> Layer:
    """A square convolution that keeps the size, unless ``more`` says otherwise."""
    given = {"padding": k // 2 * more.get("dilation", 1), **more}
    words = "".join(f" {name}={value}" for name, value in more.items())
    batch = f"{n}x" if n > 1 else ""
    return Layer(
        f"{k}x{k} {ci}>{co} {batch}{size}²{words}",
        (n, ci, size, size),
        lambda: nn.Conv2d(ci, co, k, **given),
    )


def _grouped() -> Iterable[Layer]:
    """Groups that fill vectors, and ShuffleNet v1's 1x1s."""
    yield from (_conv(c, c, size, groups=g) for c, size, g in ((48, 56, 3), (120, 28, 5)))
    yield from (_conv(c, c, size, groups=g) for c, size, g in ((96, 28, 3), (256, 14, 4)))
    yield _conv(240, 240, 14, groups=10)
    yield _conv(64, 128, 56, groups=2, stride=2)
    yield _conv(58, 58, 28, groups=2)
    yield _conv(96, 96, 17, 5, groups=3, n=2)
    for size, wide, narrow in ((28, 240, 60), (14, 480, 120), (7, 960, 240)):
        yield _conv(wide, narrow, size, 1, groups=3)
        yield _conv(narrow, wide, size, 1, groups=3)
    yield _conv(384, 96, 28, 1, groups=8)


def _narrow_groups() -> Iterable[Layer]:
    """ResNeXt's 4 to 32 channels, RegNet's 8, 16 and 24, and odder ones."""
    shapes = ((128, 56, 32), (256, 28, 32), (512, 14, 32), (1024, 7, 32))
    yield from (_conv(c, c, size, groups=g) for c, size, g in shapes)
    shapes = ((24, 56, 3), (104, 28, 13), (208, 14, 26), (144, 14, 6), (96, 28, 6), (336, 14, 14))
    yield from (_conv(c, c, size, groups=g) for c, size, g in shapes)
    yield _conv(256, 256, 56, groups=32, stride=2)
    yield _conv(60, 60, 28, groups=6)
    yield _conv(60, 60, 29, groups=20, n=2)
    yield _conv(64, 64, 56, 1, groups=16)
    yield _conv(36, 36, 28, 5, groups=6)


def _dilated() -> Iterable[Layer]:
    for c, size, d in ((32, 56, 2), (64, 33, 2), (128, 28, 4), (256, 14, 2), (64, 65, 12)):
        yield _conv(c, c, size, dilation=d)
    yield _conv(58, 58, 28, dilation=2)
    yield _conv(3, 32, 112, dilation=2, stride=2)
    yield _conv(64, 64, 28, dilation=2, groups=4)
    yield _conv(64, 64, 28, 5, dilation=3)


def _uneven() -> Iterable[Layer]:
    """Even windows that keep the size, as PyTorch's ``padding="same"`` means them."""
    yield _conv(32, 64, 56, 4, padding="same")
    yield _conv(64, 64, 28, 2, padding="same")
    yield _conv(128, 128, 28, 4, padding="same", groups=128)


def _depthwise() -> Iterable[Layer]:
    """Dilated, with several outputs per channel, of odd widths."""
    for c, size, k, d in ((192, 28, 3, 2), (96, 56, 3, 4), (384, 14, 5, 2), (122, 33, 3, 2)):
        yield _conv(c, c, size, k, dilation=d, groups=c)
    for c, times, size, k in ((32, 4, 56, 3), (64, 2, 56, 3), (96, 3, 28, 3), (58, 2, 28, 5)):
        yield _conv(c, c * times, size, k, groups=c)
    yield _conv(64, 128, 56, groups=64, stride=2)


KINDS: dict[str, Callable[[], Iterable[Layer]]] = {
    "grouped": _grouped,
    "narrow_groups": _narrow_groups,
    "dilated": _dilated,
    "uneven": _uneven,
    "depthwise": _depthwise,
}
