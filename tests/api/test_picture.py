"""How pictures become an input: what holds without a word, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from examples import photos
from tvm_flow.api.picture import Picture, described, recipe_for
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.support.errors import UsageError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 224, 224), PictureRecipe(256, 224, 224, *IMAGENET)),
        ((1, 3, 160, 192), PictureRecipe(219, 192, 160, *IMAGENET)),
        ((1, 1, 32, 32), PictureRecipe(37, 32, 32, (0.0,), (1.0,))),
        ((1, 3, 1 << 15, 8), PictureRecipe(1 << 15, 8, 1 << 15, *IMAGENET)),
        ((2, 3, 224, 224), None),
        ((1, 4, 224, 224), None),
        ((1, 3, 224), None),
        ((1, 3, 1, (1 << 15) + 1), None),
        ((), None),
    ],
)
def test_what_holds_without_a_word(shape: tuple[int, ...], expected: PictureRecipe | None) -> None:
    assert recipe_for(shape) == expected


def test_it_is_what_the_example_of_photographs_does() -> None:
    recipe = recipe_for((1, 3, 224, 224))
    assert recipe is not None
    assert (recipe.mean, recipe.std) == (photos.MEAN, photos.STD)


def test_the_usual_numbers_follow_order_and_range() -> None:
    """Three ways to say the same."""
    values = np.random.default_rng(0).integers(0, 256, (50, 3))
    results = []
    for order, scale in (("rgb", 1.0), ("bgr", 1.0), ("bgr", 255.0)):
        recipe = recipe_for((1, 3, 8, 8), Picture(order=order, range=scale))
        assert recipe is not None
        assert (recipe.order, recipe.range) == (order, scale)
        step = -1 if order == "bgr" else 1
        made = (values[:, ::step] / 255 * recipe.range - recipe.mean) / recipe.std
        results.append(made[:, ::step])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-6, atol=1e-7)


def test_what_is_said_counts() -> None:
    said = Picture(resize=232, mean=[103.5, 116, 123], std=[1, 2, 3], order="bgr", range=255)
    recipe = recipe_for((1, 3, 224, 200), said)
    assert recipe == PictureRecipe(232, 200, 224, (103.5, 116, 123), (1, 2, 3), "bgr", 255)
    assert described(recipe) == (
        "pictures: shorter side to 232, 200 x 224 cut out, 0 to 255 bgr, mean 103.5,116,123, "
        "std 1,2,3"
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"resize": 0}, "to 0 pixels. Fix: choose a shorter side of 1 to 32768"),
        ({"resize": 32769}, "to 32769 pixels"),
        ({"order": "rbg"}, "'rbg' is no order of channels. Fix: choose rgb or bgr"),
        ({"range": 2}, "0 to 2. Fix: choose 1 or 255"),
        ({"range": math.nan}, "0 to nan"),
        ({"mean": [0, 0, 0]}, "A mean of pictures is given, and no std"),
        ({"std": [1, 1, 1]}, "A std of pictures is given, and no mean"),
        ({"mean": [0, math.nan, 0], "std": [1, 1, 1]}, "A mean of nan"),
        ({"mean": [0, -math.inf, 0], "std": [1, 1, 1]}, "A mean of -inf"),
        ({"mean": [0, 0, 1e39], "std": [1, 1, 1]}, r"A mean of 1e\+39"),
        ({"mean": [0, 0, 0], "std": [1, 0, 1]}, "A std of 0 is not possible: values are divided"),
        ({"mean": [0, 0, 0], "std": [1, -1, 1]}, "A std of -1"),
        ({"mean": [0, 0, 0], "std": [1, math.nan, 1]}, "A std of nan"),
        ({"mean": [0, 0, 0], "std": [1, 1e-50, 1]}, "A std of 1e-50"),
    ],
)
def test_what_cannot_be_meant(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Picture(**said)


@pytest.mark.parametrize(
    ("shape", "said", "message"),
    [
        ((1, 3, 224, 200), Picture(resize=223), "223 pixels are smaller .* resize to 224 or more"),
        ((1, 3, 8, 8), Picture(mean=[0, 0], std=[1, 1, 1]), r"2 number\(s\) are given as mean"),
        ((1, 3, 8, 8), Picture(mean=[0, 0, 0], std=[1]), r"1 number\(s\) are given as std"),
        ((1, 1, 8, 8), Picture(mean=[0] * 3, std=[1] * 3), r"the network's input has 1 channel"),
        ((1, 1, 8, 8), Picture(order="bgr"), "A gray input has no order"),
        ((2, 3, 8, 8), Picture(), "2x3x8x8 holds no picture"),
        ((1, 10), Picture(resize=3), "1x10 holds no picture"),
    ],
)
def test_what_does_not_fit_the_input(shape: tuple[int, ...], said: Picture, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recipe_for(shape, said)
