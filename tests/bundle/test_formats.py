"""A network as one file: with libtvm_flow inside, and for TVM's own users."""

from __future__ import annotations

import ctypes
import platform
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import tvm_flow
from tests.bundle.modules import TwoHeads
from tvm_flow.support.elf_header import machine_of
from tvm_flow.support.errors import BundleError, UsageError
from tvm_flow.toolchain.elf import needed_versions

Outputs = list[NDArray[np.float32]]
SHAPE = TwoHeads.example_input_shape
#: A process that knows TVM and nothing of ours.
TVM_USER = """
import sys
import numpy as np, tvm
from tvm import relax
assert not any(name.startswith("tvm_flow") for name in sys.modules)
library, given, made = sys.argv[1:]
machine = relax.VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
results = machine["main"](tvm.runtime.tensor(np.load(given)))
np.savez(made, *[result.numpy() for result in results])
"""


@pytest.fixture(scope="module")
def x() -> NDArray[np.float32]:
    return np.random.default_rng(4).standard_normal(SHAPE, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a bundle."""
    path = tmp_path_factory.mktemp("b") / "b"
    return tvm_flow.compile(TwoHeads(), threads=1, output=path).path


@pytest.fixture(scope="module")
def expected(x: NDArray[np.float32], folder: Path) -> Outputs:
    return list(tvm_flow.load(folder)(x))


@pytest.fixture(scope="module")
def single_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "net.so"
    report = tvm_flow.compile(TwoHeads(), threads=1, output=path, format="single-file")
    assert report.verified is not None
    assert report.library_bytes == report.total_bytes == path.stat().st_size
    assert report.runtime_bytes == 0
    return path


def test_a_single_file_is_a_bundle(
    single_file: Path, x: NDArray[np.float32], expected: Outputs
) -> None:
    assert [path.name for path in single_file.parent.iterdir()] == ["net.so"]
    bundle = tvm_flow.load(single_file)
    for made, wanted in zip(bundle(x), expected, strict=True):
        np.testing.assert_array_equal(made, wanted)
    report = tvm_flow.run(bundle, x, runs=2)
    assert report.timing is not None


def test_what_a_single_file_lacks(single_file: Path) -> None:
    for verb in (tvm_flow.check, tvm_flow.profile):
        with pytest.raises(BundleError, match=r"is a single file.*without --single-file"):
            verb(str(single_file))
    with pytest.raises(UsageError, match=r"without a sample.*--input"):
        tvm_flow.run(single_file)


def test_a_single_file_needs_only_the_c_library(single_file: Path) -> None:
    names = ("libc.so", "libm.so", "libdl.so", "libpthread.so", "ld-linux")
    assert all(name.startswith(names) for name in needed_versions(single_file))
    library = ctypes.CDLL(str(single_file))
    assert library.tvmf_api_version() == 1
    for hidden in ("conv2d_direct_0", "tvmf_plan_read", "tvmf_embedded_plan"):
        assert not hasattr(library, hidden)


def test_single_files_beside_each_other(
    single_file: Path, x: NDArray[np.float32], expected: Outputs, tmp_path: Path
) -> None:
    """Their kernels have the same names; each calls its own, also where all symbols are global."""
    ctypes.CDLL(str(single_file), ctypes.RTLD_GLOBAL)
    other = tmp_path / "other.so"
    tvm_flow.compile(TwoHeads(2.0), threads=1, output=other, format="single-file")
    ctypes.CDLL(str(other), ctypes.RTLD_GLOBAL)
    first, second = tvm_flow.load(single_file), tvm_flow.load(other)
    np.testing.assert_allclose(second(x)[1], 2 * expected[1], rtol=1e-5)
    for made, wanted in zip(first(x), expected, strict=True):
        np.testing.assert_array_equal(made, wanted)


def test_damage_in_a_single_file(single_file: Path, folder: Path, tmp_path: Path) -> None:
    """The plan is found by its first bytes, the weights by theirs."""
    first = (folder / "weights.bin").read_bytes()[:16]
    for where in (b"TVMFPLAN" + struct.pack("<I", 3), first):
        content = bytearray(single_file.read_bytes())
        content[content.rindex(where) + (40 if where != first else 0)] ^= 1
        (tmp_path / f"{where.hex()}.so").write_bytes(content)
        with pytest.raises(BundleError, match="damaged"):
            tvm_flow.load(tmp_path / f"{where.hex()}.so")


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(BundleError, match="damaged"):
        tvm_flow.load(tmp_path / "text.so")


def test_a_single_file_for_a_board(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("every board file is AArch64")
    report = tvm_flow.compile(
        TwoHeads(), target="rk3399", output=tmp_path / "n.so", format="single-file"
    )
    assert report.verified is None
    assert machine_of(report.path) == 183
    with pytest.raises(BundleError, match="for aarch64, this machine is"):
        tvm_flow.load(report.path)


def test_a_library_for_users_of_tvm(
    x: NDArray[np.float32], expected: Outputs, tmp_path: Path
) -> None:
    report = tvm_flow.compile(TwoHeads(), threads=1, output=tmp_path / "tvm.so", format="tvm")
    assert report.verified is not None
    np.save(tmp_path / "x.npy", x)
    arguments = [report.path, tmp_path / "x.npy", tmp_path / "y.npz"]
    subprocess.run([sys.executable, "-c", TVM_USER, *map(str, arguments)], check=True)
    with np.load(tmp_path / "y.npz") as saved:
        for name, wanted in zip(saved.files, expected, strict=True):
            np.testing.assert_array_equal(saved[name], wanted)


def test_where_a_file_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "thesis.so").write_text("precious")
    (tmp_path / "folder").mkdir()
    for name in ("thesis.so", "folder", "net", "net.txt"):
        for kind in ("single-file", "tvm"):
            with pytest.raises(UsageError):
                tvm_flow.compile(TwoHeads(), output=tmp_path / name, format=kind)
    with pytest.raises(UsageError, match="no format"):
        tvm_flow.compile(TwoHeads(), output=tmp_path / "n.so", format="zip")
    assert (tmp_path / "thesis.so").read_text() == "precious"
