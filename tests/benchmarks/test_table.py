"""The table shows what the file says: the best in bold, failures with their reasons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import results, table
from tvm_flow.support.errors import UsageError


def figures(ms: float, ratio: float | None = None, error: float = 1e-6) -> dict[str, Any]:
    made: dict[str, Any] = {
        "median_ms": ms,
        "percent_of_fma": 80.0,
        "percent_of_roofline": 70.0,
        "peak_rss_mib": 40.0,
        "max_rel_error": error,
        "accurate": error <= 1e-4,
    }
    return made if ratio is None else {**made, "ratio": {"median": ratio, "p10": 1, "p90": 9}}


def run(case: str, threads: int, engines: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"case": case, "threads": threads, "busy": False, "valid": True, "reason": ""}
    return {**base, "fma_ms": 4.0, "memory_ms": 5.0, "engines": engines, **more}


def document(*runs: dict[str, Any], kind: str = "zoo") -> dict[str, Any]:
    return {
        "schema": results.SCHEMA,
        "kind": kind,
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "machine": {"cpu": "Some CPU", "class": "native-x", "cores": 2},
        "settings": {"rounds": 3, "seconds": 0.1},
        "runs": list(runs),
    }


RUNS = (
    run("a", 1, {"eager": figures(20, 4), "mnn": figures(10, 2, 3e-4), "tvm_flow": figures(5)}),
    run("b", 1, {"eager": figures(9, 0.9), "mnn": {"reason": "no Gelu"}, "tvm_flow": figures(10)}),
    run("a", 2, {"tvm_flow": figures(2.5)}, valid=False, reason="other load"),
)


def test_best_is_bold_and_means_are_geometric() -> None:
    text = table.markdown(document(*RUNS))
    assert "| PyTorch eager | 20.00 | **9.00** |" in text
    assert "| **tvm-flow** | **5.00** | 10.00 |" in text
    assert "| best engine / tvm-flow (mean 1.34×) | 2.00× | 0.90× |" in text
    assert "| PyTorch eager / tvm-flow (mean 1.90×) | 4.00× | 0.90× |" in text
    assert "| FMA bound | 4.00 | 4.00 |" in text


def test_failures_doubts_and_scaling_are_spelt_out() -> None:
    text = table.markdown(document(*RUNS))
    assert "| MNN | 10.00† | failed |" in text
    assert "- MNN on b failed: no Gelu" in text
    assert "- † MNN on a is off by 3.0e-04 of the output's scale" in text
    assert "- a, 2 thread(s): **not valid**, other load" in text
    assert "a 2.00× on 2" in text


def test_operators_go_down_and_use_the_roofline() -> None:
    text = table.markdown(document(*RUNS[:2], kind="operators"))
    assert "| a | 20.00 | 10.00† | **5.00** | 5.00 | 70 % | 2.00× | 4.00× |" in text


def test_how_far_the_cores_were_is_told_for_several_threads() -> None:
    """Each run has its own values: the cores may be moved between two runs."""
    row = "| cache line from core to core, ns (range over the rounds) |"
    near = run("a", 2, {"tvm_flow": figures(2.5)}, cache_line_ns=[61.2, 59.4, 64.0])
    far = run("b", 2, {"tvm_flow": figures(2.5)}, cache_line_ns=[210.0])
    unknown = run("c", 2, {"tvm_flow": figures(2.5)}, cache_line_ns=[])
    text = table.markdown(document(near, far, unknown))
    assert f"{row} 61 (59-64) | 210 (210-210) | not measured |" in text
    single = run("a", 1, {"tvm_flow": figures(5)}, cache_line_ns=[])
    assert row not in table.markdown(document(single))
    assert row not in table.markdown(document(*RUNS)), "results from before it was measured"
    assert f"{row} 61 (59-64) |  |" in table.markdown(document(near, {**RUNS[2], "case": "b"}))


def test_committed_results_can_be_shown() -> None:
    kinds = ("zoo", "operators")
    found = [results.read(path) for path in results.FOLDER.glob("*.json")]
    texts = [table.markdown(one) for one in found if one["kind"] in kinds]
    assert texts
    assert all("tvm-flow" in text for text in texts)


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = "top\n<!-- benchmarks:zoo -->\nold\n<!-- /benchmarks:zoo -->\nend\n"
    new = table.insert(text, "zoo", "fresh\n")
    assert new == text.replace("old", "fresh")
    assert table.insert(new, "zoo", "fresh\n") == new
    with pytest.raises(UsageError, match="benchmarks:operators"):
        table.insert(text, "operators", "fresh\n")


def test_results_survive_a_round_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x" / "r.json"
    results.write(document(*RUNS), path)
    assert results.read(path) == document(*RUNS)
    path.write_text('{"schema": 99}')
    with pytest.raises(UsageError, match="not a result"):
        results.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        results.read(tmp_path / "none.json")
