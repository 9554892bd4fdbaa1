"""``compile-all`` as a user types it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import NET, accepted, ctrl_c, refused, started, tvm_flow

pytestmark = pytest.mark.timeout(900)  # a machine's first C++ build also builds libc++


def test_one_failure_does_not_lose_the_others(tmp_path: Path) -> None:
    """First one place is taken by something else, then it is free."""
    taken = tmp_path / "rk3399" / "photo.jpg"
    taken.parent.mkdir()
    taken.write_text("precious")
    command = ("compile-all", NET, "-o", tmp_path, "--targets", "rk3399,native")
    done = tvm_flow(*command, "--json")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["compiling for rk3399 ...", "compiling for native ..."]
    failed, made = json.loads(done.stdout)
    assert (failed["target"], failed["bundle"]) == ("rk3399", None)
    assert "is not a bundle" in failed["error"]
    assert made["error"] is None
    assert made["bundle"]["verified"] is True
    assert Path(made["bundle"]["path"]) == tmp_path / "native"
    assert taken.read_text() == "precious"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["native", "rk3399"]

    taken.unlink()
    text = accepted(tvm_flow(*command)).stdout
    assert re.search(r"built, not run here|\d of \d kernels", text)
    assert "checked" in text
    assert "install.sh" in text
    assert all(len(line) <= 80 for line in text.splitlines() if str(tmp_path) not in line)
    assert (tmp_path / "rk3399" / "install.sh").is_file()


def test_what_is_refused_before_anything_is_compiled(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("precious")

    def refuse(code: int, what: str, *more: str, model: str = NET, output: Path = tmp_path) -> None:
        """As one line: not once per target."""
        refused(tvm_flow("compile-all", model, "-o", output, *more), code, what)

    refuse(2, "'rk3388'", "--targets", "native,rk3388")
    refuse(2, "native is named twice", "--targets", "native, native")
    refuse(2, "No target", "--targets", ",")
    refuse(2, "no layout", "--layout", "nhcw")
    refuse(2, "no model 'fasternet_t9'", model="fasternet_t9")
    refuse(2, "is not a directory", output=file)
    refuse(2, "is a bundle itself", output=bundle)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "precious"
    assert not (bundle / "native").exists()


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    """While the second target's bundle is being written."""
    targets = "native,rk3399"
    process = started("compile-all", NET, "-o", tmp_path, "--targets", targets)
    ctrl_c(process, lambda: any(tmp_path.glob(".rk3399.*")))
    assert [path.name for path in tmp_path.iterdir()] == ["native"]
    assert json.loads(accepted(tvm_flow("check", tmp_path / "native", "--json")).stdout)["ok"]
