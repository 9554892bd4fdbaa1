"""A bundle that is damaged or made for something else is refused before its code is loaded."""

from __future__ import annotations

import json
import platform
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.networks import replace_in_plan, reseal, write
from tvm_flow import check, load
from tvm_flow.support import manifest
from tvm_flow.support.errors import BundleError, NumericsError

#: Files without which a network would compute something else.
VITAL = ("model.so", "weights.bin", "plan.bin", "lib/libtvm_flow.so")


@pytest.fixture(autouse=True)
def _library_is_not_loaded(copied: Path) -> Iterator[None]:
    yield
    assert f"{copied}/model.so" not in Path("/proc/self/maps").read_text()


def _refused(directory: Path, *words: str) -> None:
    """By the front end in Python and by the program in C alike."""
    with pytest.raises(BundleError) as caught:
        load(directory)
    runner = subprocess.run(
        [directory / "runner", "--bundle", directory], capture_output=True, text=True, check=False
    )
    assert runner.returncode == 7
    for message in (str(caught.value), runner.stderr.strip()):
        assert "\n" not in message
        assert "Fix:" in message
        for word in words:
            assert word in message


def _changed(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 0x20
    return bytes(changed)


def test_one_changed_byte_in_any_file(copied: Path) -> None:
    files = [path for path in sorted(copied.rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix != ".pyc"]  # of an earlier test's run.py
    assert len(files) > 10
    for path in files:
        original = path.read_bytes()
        path.write_bytes(_changed(original, len(original) // 2))
        with pytest.raises(BundleError):
            check(copied)
        path.write_bytes(original)


@pytest.mark.parametrize("name", VITAL)
def test_one_changed_byte_anywhere_in_a_vital_file(copied: Path, name: str) -> None:
    path = copied / name
    original = path.read_bytes()
    for at in {0, 20, len(original) // 3, len(original) - 1}:
        path.write_bytes(_changed(original, at))
        with pytest.raises(BundleError):
            load(copied)


@pytest.mark.parametrize("name", VITAL[:3])
@pytest.mark.parametrize("size", [0, 7, 500, -100])
def test_truncated_files(copied: Path, name: str, size: int) -> None:
    path = copied / name
    content = path.read_bytes()
    path.write_bytes(content[:size])
    _refused(copied, "damaged" if name != "plan.bin" else "plan")


def test_a_file_that_is_longer(copied: Path) -> None:
    for name in VITAL[:3]:
        path = copied / name
        original = path.read_bytes()
        path.write_bytes(original + b"\0")
        _refused(copied, "damaged")
        path.write_bytes(original)


def test_truncated_manifest(copied: Path) -> None:
    path = copied / "manifest.json"
    path.write_text(path.read_text()[:500])
    with pytest.raises(BundleError, match="cannot read"):
        check(copied)


@pytest.mark.parametrize("name", VITAL)
def test_missing_file(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match=Path(name).name):
        load(copied)


@pytest.mark.parametrize("name", ["sample_expected.npy", "run.py"])
def test_missing_file_that_is_not_run(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(BundleError, match="incomplete"):
        check(copied)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        load(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        load(tmp_path / "nothing")


def test_a_bundle_of_an_older_version(copied: Path) -> None:
    """Of schema 2: no plan, no library, everything in the manifest."""
    shutil.rmtree(copied / "lib")
    (copied / "plan.bin").unlink()
    with pytest.raises(BundleError, match=r"older version.*compile it again"):
        load(copied)


def test_other_schema(copied: Path) -> None:
    reseal(copied, lambda data: data.update(schema=99))
    with pytest.raises(BundleError, match="schema 99"):
        check(copied)
    plan = (copied / "plan.bin").read_bytes()
    (copied / "plan.bin").write_bytes(plan[:8] + struct.pack("<I", 99) + plan[12:])
    _refused(copied, "another version", "compile it again")


def test_other_elf_machine(copied: Path) -> None:
    library = copied / "model.so"
    content = bytearray(library.read_bytes())
    content[18:20] = (8).to_bytes(2, "little")  # EM_MIPS
    library.write_bytes(content)
    reseal(copied)
    _refused(copied, "another architecture")


def test_library_that_is_no_library(copied: Path) -> None:
    (copied / "model.so").write_text("#!/bin/sh\n" * 20)
    reseal(copied)
    _refused(copied, "not a 64-bit")


def test_a_library_without_kernels(copied: Path) -> None:
    shutil.copy(copied / "lib" / "libtvm_flow.so", copied / "model.so")
    reseal(copied)
    _refused(copied, "no kernels")


def test_cross_built_for_another_architecture(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("every board file is AArch64")
    bundle = write(tmp_path / "board", "rk3399")
    with pytest.raises(BundleError, match="for aarch64, this machine is"):
        load(bundle)


def test_missing_cpu_feature(copied: Path) -> None:
    foreign = b"sve2" if platform.machine() == "x86_64" else b"fma"
    own = b"avx2" if platform.machine() == "x86_64" else b"neon"
    old, new = (struct.pack("<I", len(name)) + name for name in (own, foreign))
    replace_in_plan(copied, old, new)
    _refused(copied, "lacks", foreign.decode())


def test_a_plan_of_other_code(copied: Path) -> None:
    """A kernel by another name, one that takes more tensors."""
    names = struct.pack("<I", 4) + b"relu", struct.pack("<I", 6) + b"conv2d"
    plan = (copied / "plan.bin").read_bytes()
    replace_in_plan(copied, names[0], struct.pack("<I", 4) + b"none")
    _refused(copied, "lacks the kernel none")
    (copied / "plan.bin").write_bytes(plan)
    replace_in_plan(copied, names[0], names[1])
    _refused(copied, "does not fit")


def test_wrong_result_is_a_numerics_error(pristine: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(pristine, tmp_path / "wrong"))
    expected = np.load(bundle / "sample_expected.npy")
    expected[0, 0] += 1
    np.save(bundle / "sample_expected.npy", expected)
    reseal(bundle)
    with pytest.raises(NumericsError, match="wrong values"):
        check(bundle)


@pytest.mark.parametrize("value", [None, [], 3, "x", [3]], ids=str)
@pytest.mark.parametrize(
    "key", ["target", "sample", "inputs", "calls", "files", "kernels", "model"]
)
def test_a_manifest_of_other_things(copied: Path, key: str, value: object) -> None:
    """Whose hash is right nevertheless."""
    path = copied / manifest.NAME
    data = json.loads(path.read_text())
    if type(value) is type(data[key]) and value != [3]:
        value = None
    path.write_text(manifest.seal({**data, key: value}))
    with pytest.raises(BundleError, match=f"nothing sound of '{key}'"):
        manifest.read(copied)


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"null", b"\xff\xfe", b"{}", b'"a"'])
def test_a_manifest_that_is_none(copied: Path, content: bytes) -> None:
    (copied / manifest.NAME).write_bytes(content)
    with pytest.raises(BundleError):
        manifest.read(copied)
