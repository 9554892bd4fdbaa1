"""How a picture becomes the input of a network: the recipe of its training, for inference."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureRecipe:
    """``resize``: the shorter side is resized to this many pixels, bilinear with the filter of
    Pillow and torchvision (antialias), and ``width`` x ``height`` are cut out of the middle. A
    value ``v`` of 0 to 255 becomes ``(v / 255 * range - mean) / std``, channel by channel, in the
    order ``"rgb"`` or ``"bgr"``; ``mean`` and ``std`` have three numbers, or one for a gray input.
    """

    resize: int
    width: int
    height: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "rgb"
    range: float = 1.0
