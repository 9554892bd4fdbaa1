"""``compile --dump``: the graph after each pass, every kernel's TIR and assembly."""

from __future__ import annotations

from pathlib import Path

import pytest

import tvm_flow
from tests.cli.conftest import NET
from tvm_flow.backends import CPU
from tvm_flow.support import manifest
from tvm_flow.support.errors import UsageError


def compiled(tmp_path: Path, dump: Path) -> tvm_flow.CompileReport:
    return tvm_flow.compile(
        NET, output=tmp_path / "net", threads=1, records=tmp_path / "none", dump=dump
    )


def test_graphs_and_kernels(tmp_path: Path) -> None:
    dump = tmp_path / "deep" / "dump"
    made = compiled(tmp_path, dump)
    phases = ["imported", *(name for name, _ in CPU.phases(None, "NCHW")), "choose_mbconv"]
    files = [f"{number:02}-{name}.txt" for number, name in enumerate(phases)]
    assert sorted(path.name for path in dump.iterdir()) == [*files, "kernels"]
    before, after = (dump / files[0]).read_text(), (dump / files[-1]).read_text()
    assert "affine" in before
    assert "affine" not in after
    symbols = {kernel["symbol"] for kernel in manifest.read(made).data["kernels"]}
    for symbol in symbols:
        assert f"def {symbol}(" in (dump / "kernels" / f"{symbol}.tir.py").read_text()
        assert f"__tvm_ffi_{symbol}:" in (dump / "kernels" / f"{symbol}.s").read_text()

    stale = dump / "kernels" / "stale.s"
    stale.write_text("")
    compiled(tmp_path, dump)  # the same command again
    assert not stale.exists()
    assert (dump / files[0]).read_text() == before


@pytest.mark.parametrize("name", ["folder", "file"])
def test_foreign_files_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    mine = (
        tmp_path / "folder" / "00-imported.txt",
        tmp_path / "folder" / "notes",
        tmp_path / "file",
    )
    for path in mine:
        path.write_text("mine")
    with pytest.raises(UsageError, match=r"exists and is not a dump.*another --dump"):
        compiled(tmp_path, tmp_path / name)
    assert all(path.read_text() == "mine" for path in mine)
    assert not (tmp_path / "net").exists()
