"""Two real photographs without a download: scikit-learn's samples, prepared as for ImageNet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from tvm_flow.support.errors import UsageError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Per channel (red, green, blue), of pixels scaled to 0..1, over ImageNet."""

NAMES = ("china", "flower")


def preprocess(
    pixels: NDArray[np.uint8], *, resize: int = 256, crop: int = 224
) -> NDArray[np.float32]:
    """(H, W, 3) bytes -> (1, 3, crop, crop) normalised fp32, as image classifiers are evaluated.

    The shorter side is resized to ``resize`` pixels (bilinear with antialiasing), then the
    centre is cropped and normalised. ``crop`` must not exceed ``resize``.
    """
    image = Image.fromarray(pixels)
    scale = resize / min(image.size)
    width, height = (max(resize, int(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    image = image.crop((left, top, left + crop, top + crop))
    scaled = np.asarray(image, dtype=np.float32) / 255
    normalised = (scaled - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def load(name: str) -> NDArray[np.float32]:
    """One photo of :data:`NAMES` as (1, 3, 224, 224). Raises ``UsageError`` for another name."""
    if name not in NAMES:
        raise UsageError(f"There is no photo {name!r}", fix=f"choose one of {', '.join(NAMES)}")
    return preprocess(load_sample_image(f"{name}.jpg"))


def load_all() -> dict[str, NDArray[np.float32]]:
    """Every photo by name, each (1, 3, 224, 224)."""
    return {name: load(name) for name in NAMES}
