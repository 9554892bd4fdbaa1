"""Loading and running: results, arguments, threads, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bundle.arrays import SHAPE, reference, sample
from tests.bundle.networks import write
from tvm_flow.bundle.write import check, load, run_image
from tvm_flow.runtime import load_input, machine, max_rel_error, top_k
from tvm_flow.runtime.manifest import TensorSpec
from tvm_flow.support.errors import UsageError

SPEC = TensorSpec("x", (1, 3, 8, 8), "float32")


def test_round_trip(pristine: Path) -> None:
    bundle = load(pristine)
    x = np.random.default_rng(7).standard_normal(SHAPE, np.float32)
    first, second = bundle(x), bundle(2 * x)
    assert max_rel_error(first, reference(x)) < 1e-5
    assert max_rel_error(second, reference(2 * x)) < 1e-5  # and not a view of one buffer
    assert check(pristine).max_rel_error < 1e-5


def test_buffers_are_run_in_place(pristine: Path) -> None:
    bundle = load(pristine)
    assert bundle.buffers[0].ctypes.data % 64 == 0
    bundle.buffers[0][:] = sample()
    assert max_rel_error(bundle.run(), reference(sample())) < 1e-5


def test_any_memory_order_is_accepted(pristine: Path) -> None:
    x = np.asfortranarray(sample())
    assert max_rel_error(load(pristine)(x), reference(sample())) < 1e-5


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "shape"),
        (np.zeros(SHAPE, np.float64), "float64"),
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
        (np.full(SHAPE, np.inf, np.float32), "infinity"),
        ([1.0, 2.0], "list"),
    ],
)
def test_wrong_arguments(pristine: Path, array: np.ndarray, word: str) -> None:
    with pytest.raises(UsageError, match=word) as caught:
        load(pristine)(array)
    assert "\n" not in str(caught.value)


def test_wrong_number_of_arguments(pristine: Path) -> None:
    with pytest.raises(UsageError, match="takes 1 input"):
        load(pristine)(sample(), sample())


def test_threads(pristine: Path) -> None:
    before = os.sched_getaffinity(0)
    for threads in range(1, len(before) + 1):
        bundle = load(pristine, threads=threads)
        assert bundle.threads == threads
        assert max_rel_error(bundle(sample()), reference(sample())) < 1e-5
    assert os.sched_getaffinity(0) == before
    for impossible in (0, len(before) + 1):
        with pytest.raises(UsageError, match="threads"):
            load(pristine, threads=impossible)


def test_time(pristine: Path) -> None:
    timing = load(pristine).time(20)
    assert 0 < timing.p10_ms <= timing.median_ms <= timing.p90_ms
    assert timing.runs == 20
    with pytest.raises(UsageError):
        load(pristine).time(0)


def test_manifest_says_what_it_is(pristine: Path) -> None:
    data = json.loads((pristine / "manifest.json").read_text())
    assert [call["symbol"] for call in data["calls"]] == ["conv2d", "relu", "mean"]
    assert data["target"]["arch"] == machine.arch()
    assert set(data["target"]["cpu_features"]) <= machine.cpu_features()
    assert data["memory"]["weights"] == 4 * 8 * 3 * 9
    assert data["memory"]["storages"] == [8 * 256 * 4] * 2  # conv -> relu -> mean, two alive
    assert data["files"].keys() >= {"model.so", "run.py", "runner.cc", "README.md"}


def test_run_py_needs_no_tvm_flow(pristine: Path, tmp_path: Path) -> None:
    """Isolated mode: neither this checkout nor the working directory is on the path."""
    command = [sys.executable, "-I", str(pristine / "run.py"), "--check", "--runs", "3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    assert done.stdout.count("class ") == 5
    assert "ms median" in done.stdout


def test_run_py_reports_errors_in_one_line(copied: Path) -> None:
    (copied / "sample_input.npy").write_bytes(b"")
    command = [sys.executable, str(copied / "run.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_files_as_input(pristine: Path, tmp_path: Path) -> None:
    bundle = load(pristine)
    from_npy = run_image(bundle, pristine / "sample_input.npy", top=3)
    assert from_npy == run_image(bundle, pristine / "sample_input.bin", top=3)
    assert [index for index, _, _ in from_npy] == list(np.argsort(-reference(sample())[0])[:3])
    (tmp_path / "short.bin").write_bytes(b"1234")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "broken.png").write_text("x")
    for name in ("short.bin", "text.txt", "broken.png", "missing.npy"):
        with pytest.raises(UsageError, match="cannot read"):
            run_image(bundle, tmp_path / name)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_pictures_are_cropped_and_normalised(tmp_path: Path, layout: str) -> None:
    """Left third red, the rest grey: only the grey centre survives the crop."""
    pixels = np.full((40, 120, 3), 128, np.uint8)
    pixels[:, :40] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    shape = (1, 3, 8, 8) if layout == "NCHW" else (1, 8, 8, 3)
    values = load_input(tmp_path / "p.png", TensorSpec("x", shape, "float32"), layout)
    assert values.shape == shape
    grey = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    channels_last = values.transpose(0, 2, 3, 1) if layout == "NCHW" else values
    np.testing.assert_allclose(channels_last, np.broadcast_to(grey, (1, 8, 8, 3)), atol=1e-5)


def test_labels(tmp_path: Path) -> None:
    bundle = load(write(tmp_path / "b", labels=[f"animal {i}" for i in range(8)]))
    (index, probability, label), *_ = top_k(bundle(sample()), 1, bundle.labels)
    assert label == f"animal {index}"
    assert 1 / 8 < probability <= 1
