"""The program in a bundle computes and prints what Python does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tvm_flow
from tests.bundle.arrays import sample
from tests.bundle.modules import TwoHeads
from tests.bundle.networks import reseal, write
from tvm_flow import check
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.support.errors import NumericsError

RECIPE = PictureRecipe(18, 16, 16, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _run(bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(bundle / "runner"), "--runs", "3", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _classes(output: str) -> list[tuple[int, float]]:
    lines = [line.split() for line in output.splitlines() if " %  " in line]
    return [(int(index), float(percent)) for percent, _, index, *_ in lines]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes pictures."""
    return write(tmp_path_factory.mktemp("pictures") / "b", picture=RECIPE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with odd sides, so that every step of the resize matters, and tensors."""
    folder = tmp_path_factory.mktemp("files")
    pixels = np.random.default_rng(3).integers(0, 256, (61, 47, 3), np.uint8)
    for name in ("noise.ppm", "noise.png"):
        Image.fromarray(pixels).save(folder / name)
    np.save(folder / "x.npy", sample() + 1)
    (sample() + 1).tofile(folder / "x.bin")
    return folder


@pytest.mark.parametrize("name", ["x.npy", "x.bin", "noise.ppm"])
def test_same_classes_as_python(bundle: Path, files: Path, name: str) -> None:
    expected = tvm_flow.run(bundle, files / name, top=8).top
    done = _run(bundle, files / name, "--top", "8")
    assert done.returncode == 0, done.stderr
    found = _classes(done.stdout)
    assert [index for index, _ in found] == [index for index, _, _ in expected]
    for (_, percent), (_, probability, _) in zip(found, expected, strict=True):
        assert percent == pytest.approx(100 * probability, abs=0.02)
    assert "ms median" in done.stdout


def test_pillow_and_the_library_read_the_same_picture(bundle: Path, files: Path) -> None:
    results = [tvm_flow.run(bundle, files / f"noise.{kind}").output for kind in ("ppm", "png")]
    np.testing.assert_array_equal(*results)


def test_check_passes_and_fails(bundle: Path, copied: Path) -> None:
    done = _run(bundle, "--check", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    expected = np.load(copied / "sample_expected.npy")
    np.save(copied / "sample_expected.npy", expected + 0.1)
    reseal(copied)
    assert _run(copied, "--check").returncode == 8


def test_every_output_is_checked(tmp_path: Path) -> None:
    """A network whose second output is a picture, not classes."""
    tvm_flow.compile(TwoHeads(), threads=1, output=tmp_path / "two")
    two_outputs = tmp_path / "two"
    done = _run(two_outputs, "--check")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    assert check(two_outputs).max_rel_error < 1e-5
    second = two_outputs / "sample_expected_2.npy"
    np.save(second, np.load(second) + np.float32(0.1))
    reseal(two_outputs)
    assert _run(two_outputs, "--check").returncode == 8
    with pytest.raises(NumericsError, match="wrong values"):
        check(two_outputs)
