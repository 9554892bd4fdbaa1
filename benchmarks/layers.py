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
    """One layer with the shape of its one fp32 input (N, C and up to three axes)."""

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
    resnext = [(128, 56, 32), (256, 28, 32), (512, 14, 32), (1024, 7, 32)]
    regnet = [(24, 56, 3), (104, 28, 13), (208, 14, 26), (144, 14, 6), (96, 28, 6), (336, 14, 14)]
    yield from (_conv(c, c, size, groups=g) for c, size, g in resnext + regnet)
    yield _conv(256, 256, 56, groups=32, stride=2)
    yield _conv(60, 60, 28, groups=6)
    yield _conv(60, 60, 29, groups=20, n=2)
    yield _conv(128, 128, 56, 1, groups=32)
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
    yield _conv(96, 192, 56, groups=96, stride=2)


def _up(
    ci: int, co: int, size: int, k: int, s: int = 2, p: int = 0, *, n: int = 1, **more: Any
) -> Layer:
    words = "".join(f" {name}={value}" for name, value in more.items())
    batch = f"{n}x" if n > 1 else ""
    return Layer(
        f"{k}x{k}/{s} {ci}>{co} {batch}{size}²{words}",
        (n, ci, size, size),
        lambda: nn.ConvTranspose2d(ci, co, k, s, p, **more),
    )


def _transposed() -> Iterable[Layer]:
    """Of U-Nets, segmentation heads and generators."""
    for ci, co, size in ((64, 32, 56), (256, 128, 14), (512, 256, 7), (24, 24, 80), (24, 1, 160)):
        yield _up(ci, co, size, 2)
    for ci, co, size in ((64, 32, 28), (512, 256, 4), (64, 3, 32)):
        yield _up(ci, co, size, 4, 2, 1)
    yield _up(64, 32, 28, 3, 2, 1, output_padding=1)
    yield _up(58, 30, 28, 3, 2, 1, n=2)
    yield _up(64, 64, 28, 3, 1, 1)
    yield _up(21, 21, 14, 16, 8, 4)
    yield _up(64, 64, 28, 4, 2, 1, groups=4)
    yield _up(128, 128, 28, 4, 2, 1, groups=128)
    yield _up(64, 64, 28, 3, 2, 1, dilation=2)


def _line(ci: int, co: int, length: int, k: int, *, n: int = 1, **more: Any) -> Layer:
    given = {"padding": k // 2 * more.get("dilation", 1), **more}
    words = "".join(f" {name}={value}" for name, value in more.items())
    batch = f"{n}x" if n > 1 else ""
    return Layer(
        f"{k} {ci}>{co} {batch}{length}{words}",
        (n, ci, length),
        lambda: nn.Conv1d(ci, co, k, **given),
    )


def _lines() -> Iterable[Layer]:
    """1-D convolutions, of signals and of tokens."""
    for ci, co, length, k in ((64, 64, 256, 3), (1, 32, 16000, 7), (128, 256, 512, 1)):
        yield _line(ci, co, length, k)
    yield _line(64, 128, 1024, 5, stride=2)
    yield _line(58, 58, 333, 3, n=3)
    yield _line(64, 64, 2048, 3, dilation=8)
    yield _line(256, 256, 1024, 7, groups=256)
    yield _line(128, 128, 512, 3, groups=4)
    for ci, co, length, k, s in ((128, 64, 256, 4, 2), (256, 128, 128, 16, 8)):
        yield Layer(
            f"transposed {k}/{s} {ci}>{co} {length}",
            (1, ci, length),
            lambda ci=ci, co=co, k=k, s=s: nn.ConvTranspose1d(ci, co, k, s, s // 2),  # type: ignore[misc]
        )


def _volume(ci: int, co: int, depth: int, size: int, k: Any, **more: Any) -> Layer:
    window = (k, k, k) if isinstance(k, int) else k
    given = {"padding": tuple(n // 2 for n in window), **more}
    words = "".join(f" {name}={value}" for name, value in more.items())
    return Layer(
        f"{'x'.join(map(str, window))} {ci}>{co} {depth}x{size}²{words}",
        (1, ci, depth, size, size),
        lambda: nn.Conv3d(ci, co, k, **given),
    )


def _volumes() -> Iterable[Layer]:
    """3-D convolutions, of videos and of scans."""
    for ci, co, depth, size, k in (
        (32, 64, 8, 16, 3), (64, 64, 8, 28, (1, 3, 3)), (64, 64, 8, 28, (3, 1, 1)),
        (64, 128, 8, 28, 1), (58, 30, 5, 17, 3),
    ):  # fmt: skip
        yield _volume(ci, co, depth, size, k)
    yield _volume(3, 32, 16, 56, 3, stride=(1, 2, 2))
    yield _volume(16, 32, 16, 32, 3, stride=2)
    yield _volume(64, 64, 8, 28, 3, groups=64)
    yield _volume(64, 64, 8, 14, 3, groups=4)


class Attention(nn.Module):
    """Self-attention of ``heads`` over [n, tokens, channels], written out."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, channels // heads
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        split = self.qkv(x).unflatten(-1, (3, self.heads, self.size)).permute(2, 0, 3, 1, 4)
        q, k, v = split.unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.size**-0.5).softmax(-1)
        mixed: torch.Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return mixed


def _attention() -> Iterable[Layer]:
    """Products of activations and softmax, of vision transformers."""
    for n, tokens, channels, heads in ((1, 196, 256, 8), (2, 49, 192, 6), (1, 577, 128, 2)):
        yield Layer(
            f"{heads} heads {channels} {n}x{tokens}",
            (n, tokens, channels),
            lambda channels=channels, heads=heads: Attention(channels, heads),  # type: ignore[misc]
        )


def _between() -> Iterable[Layer]:
    """What stands between two 1x1 convolutions: activations without a kernel, and normalisation."""
    parts: dict[str, Callable[[int], nn.Module]] = {
        "Mish": lambda _: nn.Mish(),
        "GELU(tanh)": lambda _: nn.GELU(approximate="tanh"),
        "Softplus": lambda _: nn.Softplus(),
        "ELU": lambda _: nn.ELU(),
        "Tanh": lambda _: nn.Tanh(),
        "PReLU": nn.PReLU,
        "GroupNorm": lambda c: nn.GroupNorm(2, c),
        "InstanceNorm": lambda c: nn.InstanceNorm2d(c, affine=True),
        "softmax": lambda _: nn.Softmax(1),
    }
    for c, size in ((58, 28), (128, 14)):
        for name, part in parts.items():
            yield Layer(
                f"{name} {c} {size}²",
                (1, c, size, size),
                lambda c=c, part=part: nn.Sequential(  # type: ignore[misc]
                    nn.Conv2d(c, c, 1), part(c), nn.Conv2d(c, c, 1)
                ),
            )


KINDS: dict[str, Callable[[], Iterable[Layer]]] = {
    "grouped": _grouped,
    "narrow_groups": _narrow_groups,
    "dilated": _dilated,
    "uneven": _uneven,
    "depthwise": _depthwise,
    "transposed": _transposed,
    "lines": _lines,
    "volumes": _volumes,
    "attention": _attention,
    "between": _between,
}
