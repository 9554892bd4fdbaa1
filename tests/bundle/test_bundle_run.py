"""Loading and running: results, arguments, threads, files."""

from __future__ import annotations

import array
import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tvm_flow
from tests.bundle.arrays import SHAPE, reference, sample
from tests.bundle.networks import write
from tvm_flow import check, load
from tvm_flow.measure.stats import max_rel_error
from tvm_flow.runtime.classes import top_k
from tvm_flow.support import machine
from tvm_flow.support.errors import UsageError


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
    (result,) = bundle.results
    assert max_rel_error(result, reference(sample())) < 1e-5
    bundle.buffers[0][:] = np.nan
    with pytest.raises(UsageError, match="NaN"):
        bundle.run()


def test_a_run_of_its_own(pristine: Path) -> None:
    bundle = load(pristine)
    for scale in (1, 2, 3):
        bundle.buffers[0][:] = scale * sample()
        bundle.start()
        (result,) = bundle.wait()
        assert max_rel_error(result, reference(scale * sample())) < 1e-5
    with pytest.raises(UsageError, match="no run to wait for"):
        bundle.wait()


@pytest.mark.parametrize(
    "given",
    [
        np.asfortranarray(sample()),
        sample().tolist(),
        torch.from_numpy(sample()),
        array.array("f", sample().ravel()),
        sample().tobytes(),
        memoryview(sample().tobytes()),
        np.repeat(sample(), 2, axis=3)[..., ::2],
        sample()[:, :, ::-1][:, :, ::-1],
    ],
    ids=["fortran", "list", "torch", "array", "bytes", "memoryview", "strided", "reversed"],
)
def test_what_is_taken_as_an_input(pristine: Path, given: object) -> None:
    if isinstance(given, array.array):
        given = memoryview(given).cast("B")
    assert max_rel_error(load(pristine)(given), reference(sample())) < 1e-5


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (np.zeros((1, 3, 8, 8), np.float32), "shape"),
        (np.zeros(SHAPE, np.float64), "float64"),
        (np.full(SHAPE, np.nan, np.float32), "NaN"),
        (np.full(SHAPE, -np.inf, np.float32), "infinity"),
        ([1.0, 2.0], "shape"),
        ([[1.0], [2.0, 3.0]], "list"),
        (b"1234", "bytes"),
        (object(), "object"),
        (None, "shape"),
        ("photo.jpg", "shape"),
    ],
)
def test_wrong_arguments(pristine: Path, given: object, word: str) -> None:
    bundle = load(pristine)
    with pytest.raises(UsageError, match=word) as caught:
        bundle(given)
    assert "\n" not in str(caught.value)
    assert max_rel_error(bundle(sample()), reference(sample())) < 1e-5


def test_wrong_number_of_arguments(pristine: Path) -> None:
    for given in ((), (sample(), sample())):
        with pytest.raises(UsageError, match="takes 1 input"):
            load(pristine)(*given)
    with pytest.raises(UsageError, match="takes 1 input"):
        tvm_flow.run(pristine, sample(), sample())


def test_threads(pristine: Path) -> None:
    before = os.sched_getaffinity(0)
    for threads in range(1, len(before) + 1):
        bundle = load(pristine, threads=threads)
        assert bundle.threads == threads
        assert len(bundle.cores) == threads
        assert max_rel_error(bundle(sample()), reference(sample())) < 1e-5
    assert os.sched_getaffinity(0) == before
    for impossible in (0, len(before) + 1):
        with pytest.raises(UsageError, match="thread"):
            load(pristine, threads=impossible)


def test_time_and_profile(pristine: Path) -> None:
    bundle = load(pristine)
    timing = bundle.time(20)
    assert 0 < timing.p10_ms <= timing.median_ms <= timing.p90_ms
    assert timing.runs == 20
    for runs, warmup in ((0, 5), (5, -1)):
        with pytest.raises(UsageError):
            bundle.time(runs, warmup)
    assert bundle.steps == ["conv2d", "relu", "mean"]
    assert all(seconds >= 0 for seconds in bundle.profile())


def test_manifest_says_what_it_is(pristine: Path) -> None:
    data = json.loads((pristine / "manifest.json").read_text())
    assert [call["symbol"] for call in data["calls"]] == ["conv2d", "relu", "mean"]
    assert data["target"]["arch"] == machine.arch()
    assert data["memory"]["weights"] == 4 * 8 * 3 * 9
    assert data["memory"]["arena"] == 2 * 8 * 256 * 4  # conv -> relu -> mean, two alive
    assert data["files"].keys() >= {"model.so", "plan.bin", "run.py", "runner", "README.md"}


def test_the_runtime_in_a_bundle_is_small(pristine: Path) -> None:
    """Everything but code, weights and the sample, which is stored once."""
    own = {"model.so", "weights.bin", "sample_input.npy", "sample_expected.npy"}
    files = [p for p in pristine.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert sum(p.stat().st_size for p in files if p.name not in own) <= 400_000


def _run_py(bundle: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Isolated: neither this checkout nor the working directory is on the path."""
    command = [sys.executable, "-I", str(bundle / "run.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_run_py_needs_no_tvm_flow(pristine: Path, tmp_path: Path) -> None:
    done = _run_py(pristine, "--check", "--runs", "3", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    assert done.stdout.count("class ") == 5
    assert "ms median" in done.stdout


def test_run_py_reports_errors_in_one_line(copied: Path, tmp_path: Path) -> None:
    (copied / "sample_input.npy").write_bytes(b"")
    for arguments in ([], ["missing.npy"], ["a.npy", "b.npy"], ["--threads", "0"]):
        done = _run_py(copied, *arguments, folder=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    (copied / "plan.bin").write_bytes(b"")
    assert _run_py(copied, folder=tmp_path).returncode == 7


def test_run_py_cannot_print(pristine: Path) -> None:
    command = f"{sys.executable} {pristine / 'run.py'} --runs 1 > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 74
    assert done.stderr.startswith("error: cannot print: ")
    assert done.stderr.count("\n") == 1


def test_labels_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    bundle = write(tmp_path / "b", labels=[f"Käse {i} 🧀" for i in range(8)])
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, bundle / "run.py", "--runs", "0"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "K?se" in done.stdout


def test_files_as_input(pristine: Path, tmp_path: Path) -> None:
    from_npy = tvm_flow.run(pristine, pristine / "sample_input.npy", top=3).top
    sample().tofile(tmp_path / "sample.bin")
    assert from_npy == tvm_flow.run(pristine, tmp_path / "sample.bin", top=3).top
    assert from_npy == tvm_flow.run(pristine, sample(), top=3).top
    assert [index for index, _, _ in from_npy] == list(np.argsort(-reference(sample())[0])[:3])
    (tmp_path / "short.bin").write_bytes(b"1234")
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "broken.png").write_text("x")
    np.save(tmp_path / "nhwc.npy", sample().transpose(0, 2, 3, 1).copy())
    for name in ("short.bin", "text.txt", "broken.png", "missing.npy", "nhwc.npy", "missing.jpg"):
        with pytest.raises(UsageError, match=name) as caught:
            tvm_flow.run(pristine, tmp_path / name)
        assert "\n" not in str(caught.value)


def test_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "b", labels=[f"animal {i}" for i in range(8)])
    bundle = load(path)
    shutil.move(path, tmp_path / "moved")
    (index, probability, label), *_ = top_k(bundle(sample()), 1, bundle.labels)
    assert label == f"animal {index}"
    assert 1 / 8 < probability <= 1


def test_copies_of_a_bundle_are_bundles(pristine: Path) -> None:
    bundle = load(pristine, threads=1)
    for other in (copy.copy(bundle), copy.deepcopy(bundle), pickle.loads(pickle.dumps(bundle))):
        assert other.threads == 1
        assert max_rel_error(other(sample()), reference(sample())) < 1e-5
        assert other.buffers[0].ctypes.data != bundle.buffers[0].ctypes.data
