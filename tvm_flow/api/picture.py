"""How pictures become a network's input: what the user says of it, and what is right otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.support.errors import UsageError

#: Of the pixels of ImageNet scaled to 0..1, red first: what the zoo's networks are trained with.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Pixels of the resized shorter side for each pixel of the crop, as in the papers of the zoo.
RESIZE_TO_CROP = 256 / 224
ORDERS, RANGES = ("rgb", "bgr"), (1.0, 255.0)
MOST_SIDE = 1 << 15
_LARGEST, _SMALLEST = 1e6, 1e-6  # float32 has room for their quotients


@dataclass(frozen=True)
class Picture:
    """What is special about the pictures a network was trained on; by default as on ImageNet.

    A picture is resized until its shorter side has ``resize`` pixels (by default 256 for each 224
    of the input's longer side), and as much as the input holds is cut out of the middle. A value of
    0 to 255 is scaled to 0 to ``range``, 1 or 255; then ``mean`` is subtracted and the result
    divided by ``std``. Both have one number per channel of the input, in ``order``, ``"rgb"`` or
    ``"bgr"``, and belong together; by default ImageNet's, and 0 and 1 for a gray input.

    Raises :class:`UsageError` for what cannot be meant.
    """

    resize: int | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    order: str = "rgb"
    range: float = 1.0

    def __post_init__(self) -> None:
        if self.resize is not None and not 1 <= self.resize <= MOST_SIDE:
            raise UsageError(
                f"Pictures cannot be resized to {self.resize} pixels",
                fix=f"choose a shorter side of 1 to {MOST_SIDE} pixels",
            )
        if self.order not in ORDERS:
            raise UsageError(f"{self.order!r} is no order of channels", fix="choose rgb or bgr")
        if self.range not in RANGES:
            raise UsageError(
                f"Values cannot be scaled to 0 to {self.range:g}",
                fix="choose 1 or 255, and express other ranges by mean and std",
            )
        self._require_numbers()

    def _require_numbers(self) -> None:
        if (self.mean is None) != (self.std is None):
            given, lacking = ("mean", "std") if self.std is None else ("std", "mean")
            raise UsageError(
                f"A {given} of pictures is given, and no {lacking}",
                why="ImageNet's would hardly fit it",
                fix=f"give both; a {lacking} of {'1' if lacking == 'std' else '0'} changes nothing",
            )
        for value in self.mean or ():
            if not abs(value) <= _LARGEST:  # NaN neither
                raise UsageError(
                    f"A mean of {value:g} is not possible", fix="choose finite ones, per channel"
                )
        for value in self.std or ():
            if not _SMALLEST <= value <= _LARGEST:
                raise UsageError(
                    f"A std of {value:g} is not possible",
                    why="values are divided by it",
                    fix="choose positive ones, per channel",
                )


def recipe_for(shape: Sequence[int], picture: Picture | None = None) -> PictureRecipe | None:
    """How pictures become an input of NCHW ``shape``.

    ``None`` for an input that holds no picture: anything but a batch of one with one or three
    channels. Raises :class:`UsageError` where ``picture`` says something of such an input, or does
    not fit it.
    """
    holds = len(shape) == 4 and shape[0] == 1 and shape[1] in (1, 3)
    if not holds or max(shape[2:]) > MOST_SIDE:
        if picture is None:
            return None
        raise UsageError(
            f"The network's input of {'x'.join(map(str, shape))} holds no picture",
            why="one picture with one or three channels was expected",
            fix="leave the flags of pictures away, or compile for a batch of 1",
        )
    return _fitted(shape[1], shape[2], shape[3], picture or Picture())


def _fitted(channels: int, height: int, width: int, picture: Picture) -> PictureRecipe:
    resize = picture.resize or min(round(max(height, width) * RESIZE_TO_CROP), MOST_SIDE)
    if resize < max(height, width):
        raise UsageError(
            f"Pictures resized to {resize} pixels are smaller than the input",
            why=f"{width} x {height} pixels are cut out of them",
            fix=f"resize to {max(height, width)} or more",
        )
    if picture.mean is None or picture.std is None:
        mean, std = _usual(channels, picture)
    else:
        mean, std = tuple(picture.mean), tuple(picture.std)
    for what, values in (("mean", mean), ("std", std)):
        if len(values) != channels:
            raise UsageError(
                f"{len(values)} number(s) are given as {what} of pictures",
                why=f"the network's input has {channels} channel(s)",
                fix="give one per channel, separated by commas",
            )
    if channels == 1 and picture.order != "rgb":
        raise UsageError("A gray input has no order of channels", fix="leave the order away")
    return PictureRecipe(resize, width, height, mean, std, picture.order, picture.range)


def _usual(channels: int, picture: Picture) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if channels == 1:
        return (0.0,), (1.0,)
    step = -1 if picture.order == "bgr" else 1
    mean, std = (
        tuple(round(value * picture.range, 6) for value in values[::step])
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


def described(recipe: PictureRecipe) -> str:
    """The recipe in a line."""
    mean, std = (",".join(f"{value:g}" for value in v) for v in (recipe.mean, recipe.std))
    order = f" {recipe.order}" if len(recipe.mean) > 1 else ""
    return (
        f"pictures: shorter side to {recipe.resize}, {recipe.width} x {recipe.height} cut out, "
        f"0 to {recipe.range:g}{order}, mean {mean}, std {std}"
    )
