"""Writing: whole or not at all, and never over something that is not a bundle."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.bundle.arrays import SHAPE, reference, sample
from tests.bundle.networks import lowered, write
from tvm_flow import check
from tvm_flow.bundle.write import write_bundle
from tvm_flow.support.errors import CompileError, NumericsError, UsageError


def _content(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*.*")}


def test_an_existing_bundle_is_replaced(tmp_path: Path) -> None:
    target = write(tmp_path / "tiny")
    write(target, labels=[f"label {i}" for i in range(8)])
    assert (target / "labels.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]
    check(target)


def test_an_empty_directory_is_used(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    check(write(tmp_path / "tiny"))


def test_other_directories_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("photos", "file"):
        with pytest.raises(UsageError, match="is not a bundle"):
            write(tmp_path / name)
    assert (tmp_path / "photos" / "a.jpg").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root's privileges")
def test_read_only_output(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(CompileError, match="Permission denied"):
            write(tmp_path / "tiny")
    finally:
        os.seteuid(0)
    assert list(tmp_path.iterdir()) == []


def _assert_untouched(target: Path, before: dict[str, bytes]) -> None:
    assert _content(target) == before
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    check(target)


def test_failing_writes_leave_the_old_bundle(tmp_path: Path) -> None:
    """A limit on file size makes one of the last writes fail in the middle."""
    target = write(tmp_path / "tiny")
    before = _content(target)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, old[1]))
    try:
        with pytest.raises(CompileError, match="File too large") as caught:
            write(target, labels=["x" * 2**21])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert "\n" not in str(caught.value)
    _assert_untouched(target, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2M", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield disk
    # Lazily: the library checked last is still mapped.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_full_disk_leaves_the_old_bundle(tmp_path: Path, small_disk: Path) -> None:
    target = Path(shutil.copytree(write(tmp_path / "tiny"), small_disk / "tiny"))
    before = _content(target)
    with pytest.raises(CompileError, match="not enough space"):
        write(target)
    _assert_untouched(target, before)


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    x = sample()
    wrong = np.zeros((1, 3, 8, 8), np.float32)
    nan = np.full(SHAPE, np.nan, np.float32)
    for bad in (wrong, nan, x.astype(np.float64)):
        with pytest.raises(UsageError, match="sample input"):
            write_bundle(lowered(), tmp_path / "b", sample=[bad], expected=[reference(x)])
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_accepted_does_not_appear(tmp_path: Path) -> None:
    target = write(tmp_path / "tiny")
    before = _content(target)

    def refuse(fresh: Path, _bundle: Path) -> None:
        check(fresh)
        raise NumericsError(f"no, {fresh.name}")

    with pytest.raises(NumericsError, match="no"):
        write(target, accept=refuse)
    _assert_untouched(target, before)
