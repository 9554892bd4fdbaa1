"""The handwritten digits that ship with scikit-learn, split and scaled for the two networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """``images`` (N, 1, 32, 32) in [-1, 1] and ``labels`` (N,) from 0 to 9."""

    images: Images
    labels: Labels


def preprocess(grey: NDArray[np.floating] | NDArray[np.integer]) -> Images:
    """(N, 8, 8) grey levels from 0 to 16 -> (N, 1, 32, 32) in [-1, 1], bilinear.

    At a factor of 4 every bilinear weight is a multiple of 1/64 and every level an integer, so
    fp32 holds all of it exactly: the result is the same bits on every machine.
    """
    images = torch.from_numpy(np.asarray(grey, dtype=np.float32))[:, None]
    enlarged = F.interpolate(images, scale_factor=4, mode="bilinear", align_corners=False)
    return (enlarged / 8 - 1).numpy()


def load() -> tuple[Split, Split]:
    """1437 images to train on and 360 held out, the same share of every digit in both."""
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        preprocess(digits.images),
        digits.target.astype(np.int64),
        test_size=360,
        stratify=digits.target,
        random_state=0,
    )
    return Split(train_x, train_y), Split(test_x, test_y)


def accuracy(predict: Callable[[Images], NDArray[np.float32]], split: Split) -> float:
    """Share of right answers, 0 to 1, of anything that turns images into (N, 10) logits."""
    return float((predict(split.images).argmax(axis=1) == split.labels).mean())
