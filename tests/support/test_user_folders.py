"""Where files are kept that are made once, and where they go if nothing can be kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tvm_flow.support.cache import cached_folder
from tvm_flow.support.errors import EnvironmentFault
from tvm_flow.support.user_folders import cache_root

ROOT = Path(__file__).parents[2]
_MAKE = """
import os, sys
from pathlib import Path
import tvm_flow
from tvm_flow.support.cache import cached_folder
def make(folder): (folder / "made").write_text("x")
first, second = (cached_folder("thing", make) for _ in range(2))
assert first == second and (first / "made").is_file()
assert first.parent.stat().st_mode & 0o077 == 0 or Path.home() in first.parents
if os.fork() == 0: sys.exit()  # a fork's end does not delete it
os.wait()
assert (first / "made").is_file()
print(Path.home(), first)
"""


def made(**environment: str | None) -> tuple[str, Path, list[str]]:
    """Home, the folder that was made and lines of standard error, of a process."""
    kept = {k: v for k, v in os.environ.items() if k not in ("XDG_CACHE_HOME", "HOME")}
    given = {k: v for k, v in environment.items() if v is not None}
    done = subprocess.run(
        [sys.executable, "-c", _MAKE], capture_output=True, text=True, check=False,
        env={**kept, "PYTHONPATH": str(ROOT), **given},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    home, place = done.stdout.split()
    return home, Path(place), done.stderr.splitlines()


def test_a_home(tmp_path: Path) -> None:
    _, place, lines = made(HOME=str(tmp_path))
    assert place == tmp_path / ".cache" / "tvm-flow" / "thing"
    assert not lines


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Root may write anywhere, but not below a file, and not in /proc."""
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", Path("/proc")):
        _, place, (line,) = made(HOME=str(home), TMPDIR=str(tmp_path))
        assert place.parent.parent == tmp_path
        assert not place.exists(), "the temporary cache ends with its process"
        assert f"cache is temporary: {home}/.cache/tvm-flow cannot be written" in line
        assert "XDG_CACHE_HOME" in line


def test_what_is_there_is_used_where_nothing_can_be_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / ".cache" / "tvm-flow" / "thing"
    kept.mkdir(parents=True)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a disk that is mounted read-only
    assert cached_folder("thing", lambda _: pytest.fail("made again")) == kept


def test_a_folder_that_is_named_must_be_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EnvironmentFault, match=r"Cannot write to the cache.*XDG_CACHE_HOME"):
        cached_folder("thing", lambda _: None)


def test_nowhere_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TVM_FLOW_TEMPORARY_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(EnvironmentFault, match=r"no folder to keep files in.*XDG_CACHE_HOME"):
        cache_root()


def test_a_user_without_a_home(tmp_path: Path) -> None:
    """As in a container that is started with any uid: TVM wants a home to be imported."""
    command = ["unshare", "--user", "--map-user=54321", "env", "-u", "HOME", "-u", "XDG_CACHE_HOME"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this user may not become another")
    done = subprocess.run(
        [*command, f"TMPDIR={tmp_path}", f"PYTHONPATH={ROOT}", sys.executable, "-c",
         f"{_MAKE}\nimport tvm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cache is temporary" in done.stderr
    assert str(tmp_path) in done.stdout
