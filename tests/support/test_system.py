"""Tests that lack system packages: skipped with one last line, or failed where CI=true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_flow.api import doctor
from tvm_flow.boards import emulate
from tvm_flow.modelled import tools
from tvm_flow.support import system_packages
from tvm_flow.support.system_packages import COMMAND, lacking, packages_to

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
@pytest.fixture
def board():
    raise AssertionError("started without its packages")
@pytest.mark.system("emulate")
def test_board(board): pass
@pytest.mark.system("model", "emulate")
def test_both(): pass
def test_neither(): pass
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH becomes an empty folder, which is returned: QEMU and LLVM are not there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def lines(folder: Path, *, ci: str, code: int) -> list[str]:
    """What a run of :data:`TESTS` says."""
    (folder / "test_given.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.system", "--rootdir", folder,
         "--strict-markers", "-p", "no:cacheprovider", folder / "test_given.py"],
        capture_output=True, text=True, timeout=60, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CI": ci},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.strip().splitlines()


@pytest.mark.usefixtures("bare")
def test_they_are_skipped_and_the_last_line_says_so(tmp_path: Path) -> None:
    *_, counts, last = lines(tmp_path, ci="", code=0)
    assert "1 passed, 2 skipped" in counts
    assert last.startswith("2 TESTS SKIPPED because this machine lacks ")
    assert {"qemu-user", "llvm-19"} <= set(last.replace(",", "").replace(".", "").split())
    assert last.endswith(f"To run them: {COMMAND}")


@pytest.mark.usefixtures("bare")
def test_they_fail_in_ci(tmp_path: Path) -> None:
    said = lines(tmp_path, ci="true", code=1)
    assert "1 passed, 2 errors" in said[-1]
    assert not any("TESTS SKIPPED" in line for line in said)
    assert any("needs" in line and "qemu-user" in line and COMMAND in line for line in said)


def test_packages_that_are_there_change_nothing(
    tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program on PATH, a file by its name."""
    table = tmp_path / "data" / "system-packages.txt"
    table.parent.mkdir()
    table.write_text(f"# comment\nqemu-user qemu-aarch64 emulate runs it\nlibc {table} emulate C\n")
    monkeypatch.setattr(system_packages.resources, "files", lambda _: tmp_path)
    system_packages.system_packages.cache_clear()
    try:
        assert lacking("emulate") == ["qemu-user"]
        (bare / "qemu-aarch64").write_text("#!/bin/sh\n")
        (bare / "qemu-aarch64").chmod(0o755)
        assert lacking("emulate") == []
        with pytest.raises(ValueError, match="'fly'"):
            packages_to("fly")
    finally:
        system_packages.system_packages.cache_clear()


def test_error_messages_name_packages_of_the_list() -> None:
    assert emulate.PACKAGES == "qemu-user libstdc++6-arm64-cross"
    assert set(tools.PACKAGES.values()) == {package.name for package in packages_to("model")}


@pytest.mark.usefixtures("bare")
def test_the_doctor_lists_them_as_a_warning() -> None:
    boards, kernels = doctor.system_packages()
    assert (boards.name, kernels.name) == ("emulated boards", "modelled boards")
    for check in (boards, kernels):
        assert check.warning
        assert not check.ok
        assert check.fix.startswith("sudo apt-get install ")
        assert COMMAND in check.fix
        assert "qemu-user" in check.fix
    assert "llvm-19" in kernels.detail
    assert "llvm-19" not in boards.detail


FAKE_SYSTEM = {
    "apt-get": 'echo "apt-get $*" >>"$LOG"',
    "dpkg-query": 'eval "last=\\${$#}"; case " $HAVE " in *" $last "*) echo -n installed;; esac',
    "id": 'echo "$USER_ID"',
    "sudo": 'echo "sudo $*" >>"$LOG"; "$@"',
}


class FakeSystem:
    """``make system-packages`` with the system's programs replaced by ones that only take note."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "system", folder / "log"
        self.folder.mkdir()
        for name in ("awk", "env", "sh"):
            found = next(p for d in ("/usr/bin", "/bin") if (p := Path(d, name)).exists())
            (self.folder / name).symlink_to(found)
        for name, text in FAKE_SYSTEM.items():
            (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.folder / name).chmod(0o755)

    def make(self, *, have: str = "", user: int = 0) -> subprocess.CompletedProcess[str]:
        make = next(p for d in ("/usr/bin", "/bin") if (p := Path(d, "make")).exists())
        return subprocess.run(
            [make, "--no-print-directory", "system-packages"],
            cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
            env={"PATH": str(self.folder), "HAVE": have, "USER_ID": str(user),
                 "LOG": str(self.log)},
        )  # fmt: skip

    @property
    def calls(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


ALL = " ".join(package.name for package in system_packages.system_packages())


def test_make_installs_what_is_missing_and_no_more(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    done = system.make(have="qemu-user")
    assert done.returncode == 0, done.stderr
    update, install = system.calls.splitlines()
    assert "update" in update
    assert install.endswith(ALL.replace("qemu-user ", ""))
    assert "sudo" not in system.calls
    system.log.unlink()
    assert "All system packages are there" in system.make(have=ALL).stdout
    assert system.calls == ""


def test_make_takes_sudo_where_it_is_no_root(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    assert system.make(user=1000).returncode == 0
    assert system.calls.count("sudo ") == 2
    (system.folder / "sudo").unlink()
    done = system.make(user=1000)
    assert done.returncode != 0
    assert f"Fix: as root, apt-get install {ALL}" in done.stderr


def test_make_says_what_to_do_on_another_system(tmp_path: Path) -> None:
    system = FakeSystem(tmp_path)
    (system.folder / "apt-get").unlink()
    done = system.make()
    assert done.returncode != 0
    assert "there is no apt-get here" in done.stderr
    assert ALL in done.stderr


def test_make_test_runs_a_second_time() -> None:
    """pytest takes a word that is a path, as files of the first run are, for where tests are, and
    does not know our options there."""
    recipes = (ROOT / "Makefile").read_text()
    assert "--lacking-to=build/" in recipes
    assert not re.search(r" --[a-z-]+ (build|\$\(BUILD\))/", recipes)
