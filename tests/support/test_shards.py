"""Shards take every test once; a resumed run leaves out what has passed on the same sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.shards import parse_shard, source_state
from tests.support.tiers import TESTS, TIER_OF, TIERS, tier_of

ROOT = Path(__file__).parents[2]
SEVEN = "import os, pytest\n" + "".join(f"def test_{i}(): pass\n" for i in range(6))
FAILS_AT_FIRST = "def test_late(): assert os.path.exists('mended')\n"


def run(folder: Path, *options: str | Path) -> tuple[int, list[str]]:
    """The exit code, and the names of the tests that passed."""
    (folder / "test_given.py").write_text(SEVEN + FAILS_AT_FIRST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "tests.support.shards", "--rootdir", folder,
         "-p", "no:cacheprovider", *options, folder / "test_given.py"],
        capture_output=True, text=True, timeout=60, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    passed = [line.split()[0].partition("::")[2] for line in lines if " PASSED" in line]
    return done.returncode, passed


def test_shards_take_every_test_once(tmp_path: Path) -> None:
    (tmp_path / "mended").touch()
    found = [name for k in (1, 2, 3) for name in run(tmp_path, "--shard", f"{k}/3")[1]]
    assert len(found) == 7
    assert len(set(found)) == 7


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(pytest.UsageError, match="say K/N"):
        parse_shard(text)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code, passed = run(tmp_path, "--resume", log)
    assert (code, len(passed)) == (1, 6)
    (tmp_path / "mended").touch()
    assert run(tmp_path, "--resume", log) == (0, ["test_late"])
    assert run(tmp_path, "--resume", log) == (0, [])
    assert run(tmp_path, "--resume", log, "--shard", "1/7") == (0, [])
    assert len(run(tmp_path, "--resume", tmp_path / "other")[1]) == 7


def test_any_change_of_a_source_is_another_state(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "code.py").write_text("1")
    first = source_state(tmp_path)
    (tmp_path / "build" / "made").write_text("no source")
    (tmp_path / ".hidden").write_text("nor this")
    assert source_state(tmp_path) == first
    (tmp_path / "code.py").write_text("2")
    assert source_state(tmp_path) != first


def test_every_test_file_has_a_tier() -> None:
    assert {tier_of(path) for path in TESTS.rglob("test_*.py")} <= set(TIERS)
    assert [name for name in TIER_OF if not (TESTS / name).exists()] == []
    with pytest.raises(pytest.UsageError, match="has no tier"):
        tier_of(TESTS / "nowhere" / "test_new.py")


def test_no_two_test_files_have_one_name() -> None:
    """Python imports a module once: of two files by one name, pytest collects the first."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_folder_of_what_has_passed_is_no_place_of_tests() -> None:
    """Once it exists, pytest would take it for the place to look for tests and options in, if it
    stood by itself on the command line."""
    shown = subprocess.run(
        ["make", "-n", "test-slow", "SHARD=2/3"],
        cwd=TESTS.parent, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "--shard=2/3 --resume=build/slow" in shown
