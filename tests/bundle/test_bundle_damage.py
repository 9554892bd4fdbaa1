"""A bundle that is damaged or made for something else is refused before its code is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.networks import reseal, write
from tvm_flow.bundle.write import check, load
from tvm_flow.runtime import machine
from tvm_flow.support.errors import BundleError, NumericsError


@pytest.fixture(autouse=True)
def _library_is_not_loaded(copied: Path) -> Iterator[None]:
    yield
    assert str(copied) not in Path("/proc/self/maps").read_text()


def _refused(directory: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        load(directory)
    message = str(caught.value)
    assert "\n" not in message
    assert "Fix:" in message
    for word in words:
        assert word in message


def test_one_changed_byte_in_any_file(copied: Path) -> None:
    files = [path for path in sorted(copied.rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix != ".pyc"]  # of an earlier test's run.py
    assert len(files) > 10
    for path in files:
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 0x20
        path.write_bytes(changed)
        with pytest.raises(BundleError):
            load(copied)
        path.write_bytes(original)


def test_truncated_library(copied: Path) -> None:
    library = copied / "model.so"
    library.write_bytes(library.read_bytes()[:-1000])
    _refused(copied, "damaged", "model.so")


def test_truncated_manifest(copied: Path) -> None:
    path = copied / "manifest.json"
    path.write_text(path.read_text()[:500])
    _refused(copied, "cannot read")


@pytest.mark.parametrize("name", ["model.so", "weights.bin", "sample_expected.npy", "run.py"])
def test_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    _refused(copied, "incomplete", name)


def test_no_manifest(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    _refused(copied, "is not a bundle")


def test_other_schema(copied: Path) -> None:
    reseal(copied, lambda data: data.update(schema=99))
    _refused(copied, "schema 99")


def test_other_elf_machine(copied: Path) -> None:
    library = copied / "model.so"
    content = bytearray(library.read_bytes())
    content[18:20] = (8).to_bytes(2, "little")  # EM_MIPS
    library.write_bytes(content)
    reseal(copied)
    _refused(copied, "ELF machine 8", machine.arch())


def test_library_that_is_no_library(copied: Path) -> None:
    (copied / "model.so").write_text("#!/bin/sh\n")
    reseal(copied)
    _refused(copied, "not a 64-bit")


def test_cross_built_for_another_architecture(tmp_path: Path) -> None:
    if machine.arch() == "aarch64":
        pytest.skip("every board file is AArch64")
    _refused(write(tmp_path / "board", "rk3399"), "for aarch64", "rk3399", "this machine is")


def test_missing_cpu_feature(copied: Path) -> None:
    foreign = "sve2" if machine.arch() == "x86_64" else "avx512f"
    reseal(copied, lambda data: data["target"]["cpu_features"].append(foreign))
    _refused(copied, "lacks", foreign)


@pytest.mark.parametrize("key", ["tvm", "tvm_ffi"])
def test_other_runtime_version(copied: Path, key: str) -> None:
    reseal(copied, lambda data: data["versions"].update({key: "0.26.9"}))
    _refused(copied, "0.26.9", "is installed", "pip install")


def test_wrong_result_is_a_numerics_error(pristine: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(pristine, tmp_path / "wrong"))
    expected = np.load(bundle / "sample_expected.npy")
    expected[0, 0] += 1
    np.save(bundle / "sample_expected.npy", expected)
    reseal(bundle)
    with pytest.raises(NumericsError, match="wrong values"):
        check(bundle)
