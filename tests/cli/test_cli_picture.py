"""The options of pictures as a user types them, for one board and for several."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tvm_flow as api
from tests.cli.conftest import NET, accepted, refused, tvm_flow

CAFFE = ("--mean", "103.939,116.779,123.68", "--std", "1, 2,4", "--channel-order", "BGR",
         "--range", "255", "--resize", "16")  # fmt: skip
RECIPE = {
    "resize": 16, "width": 16, "height": 16, "mean": [103.939, 116.779, 123.68],
    "std": [1.0, 2.0, 4.0], "order": "bgr", "range": 255.0,
}  # fmt: skip


def recipe_in(bundle: Path) -> object:
    return json.loads((bundle / "manifest.json").read_text())["picture"]


def test_by_default_pictures_are_imagenets(bundle: Path) -> None:
    assert recipe_in(bundle) == {
        "resize": 18, "width": 16, "height": 16, "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225], "order": "rgb", "range": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_what_is_typed_is_what_the_input_becomes(layout: str, tmp_path: Path) -> None:
    made = tmp_path / "net"
    done = accepted(tvm_flow("compile", NET, "-o", made, "--layout", layout, *CAFFE))
    assert "shorter side to 16, 16 x 16 cut out, 0 to 255 bgr" in " ".join(done.stdout.split())
    assert recipe_in(made) == RECIPE
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    bundle = api.load(made)
    bundle.set_picture(pixels)
    (given,) = bundle.buffers
    assert bundle.inputs[0].layout == layout.upper()
    if layout == "nchw":
        given = given.transpose(0, 2, 3, 1)
    wanted = (pixels[:, :, ::-1] - np.array(RECIPE["mean"])) / np.array(RECIPE["std"])
    np.testing.assert_allclose(given[0], wanted, rtol=1e-5, atol=1e-5)


def test_json_says_it_and_boards_get_it_too(tmp_path: Path) -> None:
    command = ("compile-all", NET, "-o", tmp_path, "--targets", "native,rk3399", *CAFFE, "--json")
    for one in json.loads(accepted(tvm_flow(*command)).stdout):
        assert one["bundle"]["picture"] == RECIPE
        assert recipe_in(tmp_path / one["target"]) == RECIPE


@pytest.mark.parametrize("verb", ["compile", "compile-all"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--mean 1,2,3", "A mean of pictures is given, and no std"),
        ("--mean 1,2 --std 1,2", "2 number(s) are given as mean of pictures"),
        ("--mean 1,2,x --std 1,1,1", "'x' is no number: --mean was given it"),
        ("--mean 1,2, --std 1,1,1", "'' is no number"),
        ("--mean 0,0,0 --std 1,nan,1", "'nan' is no number: --std was given it"),
        ("--mean 0,0,0 --std 1,0,1", "A std of 0 is not possible"),
        ("--resize 15", "15 pixels are smaller than the input"),
        ("--resize 0", "cannot be resized to 0 pixels"),
        ("--channel-order brg", "'brg' is no order of channels"),
        ("--range 2", "cannot be scaled to 0 to 2"),
        ("--range one", "'one' is no number: --range was given it"),
        ("--input 2x3x16x16 --range 1", "2x3x16x16 holds no picture"),
    ],
)
def test_what_makes_no_sense(verb: str, options: str, said: str, tmp_path: Path) -> None:
    """As one line, before anything is compiled."""
    more = ("--targets", "native,rk3399") if verb == "compile-all" else ()
    refused(tvm_flow(verb, NET, "-o", tmp_path / "x", *more, *options.split()), 2, said)
    assert not list(tmp_path.iterdir())


def test_a_library_for_tvm_takes_no_pictures(tmp_path: Path) -> None:
    command = ("compile", NET, "-o", tmp_path / "net.so", "--format", "tvm", "--range", "255")
    refused(tvm_flow(*command), 2, "virtual machine takes no pictures")
    assert not list(tmp_path.iterdir())


def test_a_batch_holds_no_picture(tmp_path: Path) -> None:
    made = tmp_path / "net"
    accepted(tvm_flow("compile", NET, "-o", made, "--input", "2x3x16x16"))
    assert recipe_in(made) is None
    bundle = api.load(made)
    with pytest.raises(api.TvmFlowError, match="picture flags"):
        bundle.set_picture(np.zeros((16, 16, 3), np.uint8))
