"""Processes of our own and what lies in the folder that the user works in."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tvm_flow.support.child import child_environment

ROOT = Path(__file__).parents[2]
#: Modules that Python, NumPy and TVM import.
NAMES = ["copy", "random", "queue", "numpy", "tvm"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with files called like libraries."""
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise SystemExit('foreign code ran')\n")
    (tmp_path / "mine.py").write_text("VALUE = 3\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("entry", ["", "cwd"], ids=["python -c", "python -m"])
def test_files_called_like_libraries(
    folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    """They are not imported in place of those, and the user's own are still found."""
    monkeypatch.setattr(sys, "path", [entry and str(folder), *sys.path])
    code = "import copy, random, queue, numpy, tvm_flow, mine; print(mine.VALUE, numpy.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env=child_environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    value, place = done.stdout.split()
    assert value == "3"
    assert str(folder) not in place


def test_what_the_user_puts_first_stays_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert child_environment(A="b")["PYTHONPATH"].split(os.pathsep)[0] == str(folder)
    assert child_environment(A="b")["A"] == "b"


def test_a_script_s_neighbours_go_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grandchild finds the same as the child."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "argv", [str(folder / "script.py")])
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path, str(ROOT)])
    path = child_environment()["PYTHONPATH"].split(os.pathsep)
    assert path[-1] == str(folder)
    code = (
        "from tvm_flow.support.child import child_environment\n"
        "print(child_environment()['PYTHONPATH'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=child_environment(), cwd="/",
    )  # fmt: skip
    again = done.stdout.strip().split(os.pathsep)
    assert again.index(sysconfig.get_path("stdlib")) < again.index(str(folder))
