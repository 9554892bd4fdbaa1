"""The digit networks are as good as said, small, reproducible; photos are real ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples import photos
from examples.digits import data, models, train
from tvm_flow.support.errors import ModelError, UsageError

FACTORIES = [models.fasternet_digits, models.shufflenet_digits]
Factory = Callable[[], models.FasterNetDigits | models.ShuffleNetDigits]


@pytest.mark.parametrize("factory", FACTORIES)
def test_committed_weights_read_held_out_digits(factory: Factory) -> None:
    _, held_out = data.load()
    model = factory()
    assert not model.training
    assert data.accuracy(partial(train.predict, model), held_out) >= 0.98
    assert model.weights_file.stat().st_size < 2_000_000
    assert model(torch.zeros(model.example_input_shape)).shape == (1, 10)


def test_split_is_fixed_stratified_and_disjoint() -> None:
    (trained, held_out), (again, _) = data.load(), data.load()
    assert np.array_equal(trained.images, again.images)
    assert (len(trained.labels), len(held_out.labels)) == (1437, 360)
    assert min(np.bincount(held_out.labels)) >= 34
    seen = {image.tobytes() for image in trained.images}
    assert not any(image.tobytes() in seen for image in held_out.images)


def test_preprocessing_is_exact_bilinear() -> None:
    levels = np.random.default_rng(0).integers(0, 17, (3, 8, 8))
    # The same interpolation as two products with a matrix, in fp64.
    position = np.clip((np.arange(32) + 0.5) / 4 - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(8)))
    expected = weights @ levels @ weights.T / 8 - 1
    images = data.preprocess(levels)
    assert images.dtype == np.float32
    assert images.shape == (3, 1, 32, 32)
    assert np.array_equal(images[:, 0], expected)


def test_shifting_moves_images_and_keeps_their_ink() -> None:
    image = torch.full((64, 1, 32, 32), -1.0)
    image[:, 0, 10:12, 20] = 1.0
    moved = train.shifted(image, torch.Generator().manual_seed(0))
    assert torch.equal(moved.sum((1, 2, 3)), image.sum((1, 2, 3)))
    rows = (moved == 1).nonzero()[::2, 2] - 10
    assert set(rows.tolist()) == set(range(-train.SHIFT, train.SHIFT + 1))


@pytest.mark.parametrize("name", sorted(train.MODELS))
def test_training_repeats_bit_for_bit(name: str) -> None:
    whole, _ = data.load()
    few = data.Split(whole.images[:128], whole.labels[:128])
    threads, global_state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        first, again, other = (train.fit(name, few, epochs=1, seed=seed) for seed in (0, 0, 1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(global_state, torch.get_rng_state())
    weights, repeated = first.state_dict(), again.state_dict()
    assert all(torch.equal(weights[key], repeated[key]) for key in weights)
    assert not all(torch.equal(weights[key], value) for key, value in other.state_dict().items())


def test_models_file_loads_by_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("user_model", models.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert isinstance(module.fasternet_digits(), nn.Module)


def test_missing_and_damaged_weights_say_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "w.safetensors"
    monkeypatch.setattr(models.FasterNetDigits, "weights_file", path)
    for content in (None, b"torn"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=r"python -m examples\.digits\.train"):
            models.fasternet_digits()
    path.write_bytes(models.ShuffleNetDigits.weights_file.read_bytes())
    with pytest.raises(ModelError, match="cannot be loaded"):
        models.fasternet_digits()


def test_photos_are_normalised_crops() -> None:
    loaded = photos.load_all()
    assert set(loaded) == {"china", "flower"}
    for image in loaded.values():
        assert image.shape == (1, 3, 224, 224)
        assert image.dtype == np.float32
        assert image.flags.c_contiguous
        assert image.std() > 0.5
    assert not np.array_equal(loaded["china"], loaded["flower"])
    with pytest.raises(UsageError, match="china, flower"):
        photos.load("cat")


def test_photo_preprocessing_of_a_known_image() -> None:
    # Left half black, right half white, red only: the crop keeps the edge in the middle.
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[:, 256:, 0] = 255
    image = photos.preprocess(pixels)
    low, high = (0 - 0.485) / 0.229, (1 - 0.485) / 0.229
    np.testing.assert_allclose(image[0, 0, :, :112], low, rtol=1e-6)
    np.testing.assert_allclose(image[0, 0, :, 112:], high, rtol=1e-6)
    np.testing.assert_allclose(image[0, 1], (0 - 0.456) / 0.224, rtol=1e-6)
