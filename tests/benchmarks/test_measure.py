"""One small network through the whole harness, with the engines this environment has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import measure, results, table
from benchmarks.engines import ENGINES, Engine, convert

CASE = "conv1x1_384_64_14"


def here(name: str) -> Engine:
    """An engine in the environment of the tests."""
    engine = ENGINES[name]
    return replace(engine, environment="", format=replace(engine.format, environment=""))


def test_network_through_real_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "FOLDER", tmp_path)
    absent = replace(ENGINES["ncnn"], environment="absent")
    engines = [here("eager"), here("eager_channels_last"), absent, here("tvm_flow")]
    settings = measure.Settings(rounds=1, seconds=0.02)
    run = measure.measure(CASE, engines, 1, settings)
    for name in ("eager", "eager_channels_last", "tvm_flow"):
        figures = run.engines[name]
        assert figures["accurate"], figures
        assert figures["median_ms"] > 0
        assert figures["peak_rss_mib"] > 10
    assert 1 < run.engines["tvm_flow"]["runner_peak_rss_mib"] < 100
    assert "is not installed" in run.engines["ncnn"]["reason"]
    assert run.engines["eager"]["ratio"]["median"] > 0
    assert run.peak_gflops > 1
    assert run.fma_ms == pytest.approx(2 * 4816896 / run.peak_gflops / 1e6)
    found = results.document("operators", [run], engines, settings)
    results.write(found, tmp_path / "r.json")
    assert CASE in table.markdown(results.read(tmp_path / "r.json"))
