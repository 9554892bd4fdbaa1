"""Inputs from files (pictures, .npy, raw .bin) and the top classes of an output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime.manifest import TensorSpec
from tvm_flow.support.errors import UsageError

Array = NDArray[Any]

# Statistics of ImageNet's training set, which the zoo's recipes normalise by
# (https://pytorch.org/vision/stable/models.html).
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
RESIZE_RATIO = 256 / 224  # the shorter side is resized to this times the crop
PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"}


def load_input(path: Path, spec: TensorSpec, layout: str) -> Array:
    """The content of ``path`` as the array input ``spec`` wants.

    ``.npy`` and raw little-endian ``.bin`` are taken as they are; a picture is resized, cropped in
    the centre and normalised as in ImageNet evaluation. Raises :class:`UsageError`.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if suffix == ".bin":
            return _raw(path, spec)
        if suffix in PICTURES:
            return _picture(path, spec, layout)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}", why=str(error), fix="pass a readable picture, .npy or .bin file"
        ) from error
    raise UsageError(
        f"cannot read {path}", why=f"unknown type {suffix!r}", fix="use .jpg, .png, .npy or .bin"
    )


def _raw(path: Path, spec: TensorSpec) -> Array:
    data = np.fromfile(path, dtype=spec.dtype)
    if data.size != np.prod(spec.shape):
        raise ValueError(f"{data.size} values, shape {spec.shape} has {np.prod(spec.shape)}")
    return data.reshape(spec.shape)


def _picture(path: Path, spec: TensorSpec, layout: str) -> Array:
    from PIL import Image  # noqa: PLC0415  (not needed on a board that is fed tensors)

    if len(spec.shape) != 4 or spec.dtype != "float32":
        raise ValueError(f"a picture does not fit an input of shape {spec.shape} {spec.dtype}")
    height, width = spec.shape[2:] if layout == "NCHW" else spec.shape[1:3]
    channels = spec.shape[1] if layout == "NCHW" else spec.shape[3]
    if channels != 3 or spec.shape[0] != 1:
        raise ValueError(f"a picture does not fit an input of shape {spec.shape}")
    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = RESIZE_RATIO * max(height / picture.height, width / picture.width)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    picture = picture.crop((left, top, left + width, top + height))
    values = (np.asarray(picture, np.float32) / np.float32(255) - MEAN) / STD
    if layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None])


def top_k(logits: Array, top: int, labels: list[str] | None) -> list[tuple[int, float, str]]:
    """The ``top`` classes of one row of logits: (index, softmax probability, label)."""
    row = np.asarray(logits, np.float64).reshape(-1)
    shifted = np.exp(row - row.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-row, kind="stable")[: max(1, top)]
    names = labels if labels and len(labels) == row.size else None
    return [(int(i), float(probabilities[i]), names[i] if names else f"class {i}") for i in order]
