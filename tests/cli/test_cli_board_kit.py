"""``board-kit`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import accepted, ctrl_c, refused, started, tvm_flow

pytestmark = pytest.mark.timeout(600)  # a machine's first C++ build also builds libc++


def test_a_kit_and_its_replacement(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    data = json.loads(accepted(tvm_flow("board-kit", "native", "-o", kit, "--json")).stdout)
    assert {k: data[k] for k in ("path", "board", "key")} == {
        "path": str(kit), "board": "native", "key": "native",
    }  # fmt: skip
    assert data["bytes"] == sum(f.stat().st_size for f in kit.rglob("*") if f.is_file())
    assert (kit / "install.sh").stat().st_mode & 0o111

    again = accepted(tvm_flow("board-kit", "native", "-o", "kit", "--key", "shelf-3", cwd=tmp_path))
    assert "key shelf-3" in again.stdout
    assert "./install.sh" in again.stdout
    told = [line for line in again.stdout.splitlines() if str(kit) not in line]
    assert max(map(len, told)) <= 80
    assert json.loads((kit / "kit.json").read_text())["key"] == "shelf-3"
    assert list(tmp_path.iterdir()) == [kit], "nothing is left beside it"


def test_what_is_refused(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("precious")
    file = tmp_path / "notes.txt"
    file.write_text("precious")
    refused(tvm_flow("board-kit", "native", "-o", thesis), 2, "is not a board kit", "--output")
    refused(tvm_flow("board-kit", "rk3388", "-o", tmp_path / "x"), 2, "'rk3388'", "rk3399")
    refused(tvm_flow("board-kit", "native", "-o", tmp_path / "x", "--key", "a b"), 2, "be a key")
    refused(tvm_flow("board-kit", "native", "-o", file / "x"), 6, f"{file}: File exists")
    refused(tvm_flow("board-kit", "native"), 2, "--output")
    assert (thesis / "chapter1.tex").read_text() == file.read_text() == "precious"
    assert sorted(tmp_path.iterdir()) == [file, thesis]


def test_ctrl_c_while_the_server_is_built(tmp_path: Path) -> None:
    """With an empty cache: neither the kit nor a half program for the next one is left."""
    cache, kit = tmp_path / "cache", tmp_path / "kit"
    process = started("board-kit", "native", "-o", kit, XDG_CACHE_HOME=str(cache))
    programs = cache / "tvm-flow" / "programs"
    ctrl_c(process, lambda: any(programs.glob(".board_server-*/.board_server.*")))
    assert list(programs.iterdir()) == []
    assert list(tmp_path.iterdir()) == [cache]
