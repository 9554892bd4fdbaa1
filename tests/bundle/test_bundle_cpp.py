"""The C++ runner computes and prints what Python does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_ffi
from PIL import Image

import tvm_flow
from tests.bundle.arrays import reference, sample
from tests.bundle.modules import TwoHeads
from tests.bundle.networks import lowered, reseal, write
from tvm_flow import targets
from tvm_flow.boards.deploy import runner_program
from tvm_flow.boards.server_build import GLIBC
from tvm_flow.bundle.write import check, load, run_image, write_bundle
from tvm_flow.support.errors import NumericsError
from tvm_flow.toolchain.linker import _zig_environment as zig_environment

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++


@pytest.fixture(scope="module")
def runner() -> Path:
    return runner_program(targets.load("native"))


def _run(runner: Path, bundle: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(runner), "--bundle", str(bundle), "--runs", "3", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _classes(output: str) -> list[tuple[int, float]]:
    lines = [line.split() for line in output.splitlines() if " %  " in line]
    return [(int(index), float(percent)) for percent, _, index, _ in lines]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with odd sides: every step of the resize matters."""
    pixels = np.random.default_rng(3).integers(0, 256, (61, 47, 3), np.uint8)
    path = tmp_path_factory.mktemp("picture") / "noise.ppm"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("kind", ["sample_input.npy", "sample_input.bin", "picture"])
def test_same_classes_as_python(runner: Path, pristine: Path, picture: Path, kind: str) -> None:
    path = picture if kind == "picture" else pristine / kind
    expected = run_image(load(pristine), path, top=8)
    done = _run(runner, pristine, path, "--top", "8")
    assert done.returncode == 0, done.stderr
    found = _classes(done.stdout)
    assert [index for index, _ in found] == [index for index, _, _ in expected]
    for (_, percent), (_, probability, _) in zip(found, expected, strict=True):
        assert percent == pytest.approx(100 * probability, abs=0.02)
    assert "ms median" in done.stdout


def test_check_passes_and_fails(runner: Path, pristine: Path, copied: Path) -> None:
    done = _run(runner, pristine, "--check", "--threads", "1")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    expected = np.load(copied / "sample_expected.npy")
    np.save(copied / "sample_expected.npy", expected + 0.1)
    reseal(copied)
    assert _run(runner, copied, "--check").returncode == 8


def test_errors(runner: Path, pristine: Path, copied: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "short.bin").write_bytes(b"1234")
    for arguments in (["--threads", "0"], ["--threads", "999"], ["--huh"], ["--top"]):
        assert _run(runner, pristine, *arguments).returncode == 2
    for name in ("text.txt", "short.bin", "missing.npy"):
        done = _run(runner, pristine, tmp_path / name)
        assert done.returncode == 2
        assert done.stderr.startswith("error: ")
    assert _run(runner, tmp_path).returncode == 7
    library = copied / "model.so"
    library.write_bytes(library.read_bytes()[:-1])
    done = _run(runner, copied)
    assert done.returncode == 7
    assert "damaged" in done.stderr


def test_errors_of_tvm_are_caught(runner: Path, copied: Path) -> None:
    """A library that cannot be loaded although it has the right size: TVM throws, we report."""
    library = copied / "model.so"
    library.write_bytes(library.read_bytes()[:64] + bytes(library.stat().st_size - 64))
    done = _run(runner, copied)
    assert done.returncode == 7, done.stderr
    assert done.stderr.startswith("error: ")


def test_another_architecture_is_refused(tmp_path: Path, runner: Path) -> None:
    bundle = write(tmp_path / "board", "rk3399")
    done = _run(runner, bundle)
    assert done.returncode == 7
    assert "another architecture" in done.stderr


def test_the_documented_command_builds_it(tmp_path: Path) -> None:
    """The line in the README, run inside a bundle with the libraries where it says.

    For a board with the C library that other programs are built for here: zig has its libc++.
    """
    native = lowered()
    board = dataclasses.replace(native.board, glibc_floor=GLIBC)
    bundle = write_bundle(
        dataclasses.replace(native, board=board), tmp_path / "b", sample_input=sample(),
        expected=[reference(sample())],
    )  # fmt: skip
    command = load(bundle).manifest.data["cpp_build"]
    assert command in (bundle / "README.md").read_text()
    (bundle / "lib").mkdir()
    for package, name in ((tvm, "libtvm_runtime.so"), (tvm_ffi, "libtvm_ffi.so")):
        (bundle / "lib" / name).symlink_to(Path(package.__file__).parent / "lib" / name)
    environment = zig_environment()  # share the cache: libc++ takes a minute
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], cwd=bundle, env=environment, check=True)
    done = subprocess.run([bundle / "runner", "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_output_is_checked(runner: Path, two_outputs: Path) -> None:
    done = _run(runner, two_outputs, "--check")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    assert check(two_outputs).max_rel_error < 1e-5
    second = two_outputs / "sample_expected_2.npy"
    np.save(second, np.load(second) + np.float32(0.1))
    reseal(two_outputs)
    assert _run(runner, two_outputs, "--check").returncode == 8
    with pytest.raises(NumericsError, match="wrong values"):
        check(two_outputs)


@pytest.fixture
def two_outputs(tmp_path: Path) -> Path:
    """A network whose second output is a picture, not classes."""
    tvm_flow.compile(TwoHeads(), threads=1, output=tmp_path / "two")
    return tmp_path / "two"
