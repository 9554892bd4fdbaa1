"""Bundles for systems whose C library is musl, such as Alpine and OpenWrt."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

import tvm_flow
from tests.bundle.modules import TwoHeads

LOADER = Path(f"/lib/ld-musl-{platform.machine()}.so.1")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tvm_flow.CompileReport:
    folder = tmp_path_factory.mktemp("musl")
    return tvm_flow.compile(TwoHeads(), output=folder / "b", libc="musl", records=folder / "none")


def test_what_is_for_musl_is_not_run_here(report: tvm_flow.CompileReport) -> None:
    assert report.verified is None
    assert any("C library is not musl" in note for note in report.notes)
    # with musl linked in, it could load no library
    assert str(LOADER).encode() in (report.path / "runner").read_bytes()


@pytest.mark.skipif(LOADER.exists(), reason="this system has musl beside glibc")
def test_the_installer_says_what_is_missing(report: tvm_flow.CompileReport) -> None:
    done = subprocess.run(
        [report.path / "install.sh"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: this system has no musl. Fix: ")


@pytest.mark.system("musl")
def test_it_runs_on_musl(report: tvm_flow.CompileReport) -> None:
    done = subprocess.run(
        [report.path / "install.sh"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
