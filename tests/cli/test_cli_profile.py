"""``profile --trace`` and ``--versus`` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import accepted, refused, tvm_flow
from tests.cli.test_cli_verbs import fits_80_columns


def test_trace(bundle: Path, tmp_path: Path) -> None:
    done = accepted(
        tvm_flow("profile", bundle, "--runs", "3", "--trace", "trace.json", cwd=tmp_path)
    )
    assert fits_80_columns(done.stdout)
    assert "trace.json" in done.stdout
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) >= 3


def test_a_trace_that_cannot_be_written(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = tvm_flow("profile", bundle, "--runs", "3", "--trace", tmp_path / "file" / "t.json")
    refused(done, 6, "cannot write", "--trace")


def test_versus(bundle: Path) -> None:
    arguments = ("profile", bundle, "--versus", bundle, "--runs", "3")
    shown = accepted(tvm_flow(*arguments)).stdout
    assert fits_80_columns(shown)
    assert "first: " in shown
    assert "second: " in shown
    data = json.loads(accepted(tvm_flow(*arguments, "--json")).stdout)
    pairs = data["pairs"]
    assert all(len(pair["first"]) == len(pair["second"]) == 1 for pair in pairs)
    for pair in pairs:
        assert abs(pair["second_us"] - pair["first_us"] - pair["difference_us"]) < 1e-9


def test_what_is_refused(bundle: Path, tmp_path: Path) -> None:
    both = tvm_flow("profile", bundle, "--versus", bundle, "--trace", tmp_path / "t.json")
    refused(both, 2, "--versus", "--trace")
    refused(tvm_flow("profile", bundle, "--versus", tmp_path / "none"), 3, "none")
    refused(tvm_flow("profile", bundle, "--versus", bundle, "--runs", "0"), 2, "0 runs")
