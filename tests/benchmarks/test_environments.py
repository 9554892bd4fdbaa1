"""Environments are whole or not there, and conversions are kept while nothing changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engines import ENGINES, Format, chosen, convert, environments
from benchmarks.engines.convert import converted
from tvm_flow.support.errors import EnvironmentFault, MeasurementError, UsageError

CASE = "depthwise3x3_s1_116_14"
PICKLED = Format("pytorch", "")


def test_every_engine_has_pinned_requirements() -> None:
    for engine in ENGINES.values():
        for name in {engine.environment, engine.format.environment} - {""}:
            lines = (environments.REQUIREMENTS / f"{name}.txt").read_text().split()
            assert lines
            assert all("==" in line for line in lines)


def test_failed_installation_tells_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "peer.txt").write_text("./there-is-no-such-file.whl\n")
    with pytest.raises(EnvironmentFault, match=r"peer cannot be installed.*no-such-file"):
        environments.install("peer", tmp_path / "peers")
    assert not (tmp_path / "peers" / "peer").exists()
    with pytest.raises(EnvironmentFault, match=r"not installed.*setup_peers peer"):
        environments.python("peer", tmp_path / "peers")


def test_changed_requirements_make_an_environment_outdated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "peer.txt").write_text("")
    environments.install("peer", tmp_path / "peers")
    assert environments.python("peer", tmp_path / "peers").exists()
    (tmp_path / "peer.txt").write_text("six==1.17.0\n")
    with pytest.raises(EnvironmentFault, match="outdated"):
        environments.python("peer", tmp_path / "peers")


def test_conversion_is_kept_until_something_it_depends_on_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = converted(PICKLED, CASE, 1, tmp_path)
    made = (folder / "module.pt").stat().st_mtime_ns
    assert (converted(PICKLED, CASE, 2, tmp_path) / "module.pt").stat().st_mtime_ns == made
    monkeypatch.setattr(convert, "fingerprint", lambda _: "other")
    assert (converted(PICKLED, CASE, 1, tmp_path) / "module.pt").stat().st_mtime_ns > made


def test_failed_conversion_tells_why_and_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="no_such_net"):
        converted(PICKLED, "no_such_net", 1, tmp_path)
    with pytest.raises(MeasurementError, match="nothing"):
        converted(replace(PICKLED, name="nothing"), CASE, 1, tmp_path)
    assert not list(tmp_path.rglob("module.pt"))


def test_ours_is_always_among_the_chosen() -> None:
    assert [engine.name for engine in chosen(["ncnn"])] == ["ncnn", "tvm_flow"]
    with pytest.raises(UsageError, match="no engine 'tensorflow'"):
        chosen(["tensorflow"])
