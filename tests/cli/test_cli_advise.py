"""``advise`` on a small model: findings, their words, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import MODELS, NET, accepted, refused, tvm_flow
from tests.cli.test_cli_verbs import fits_80_columns


def test_findings_of_a_small_network(tmp_path: Path) -> None:
    """20 and 36 channels do not fill vectors; 3x3 with stride 2 is no place for PConv."""
    arguments = ("advise", NET, "--threads", "1", "--runs", "5", "--records", tmp_path)
    shown = accepted(tvm_flow(*arguments)).stdout
    assert fits_80_columns(shown)
    assert "in kernels (measured)" in shown
    data = json.loads(accepted(tvm_flow(*arguments, "--compile-changes", "--json")).stdout)
    places = {entry["rule"]: entry["places"] for entry in data["audit"]}
    assert places["channel alignment"] >= 1
    assert "3x3 that PConv would replace" not in places
    savings = [found["saving_s"] for found in data["findings"]]
    assert savings == sorted(savings, reverse=True)
    for found in data["findings"]:
        assert found["cost"] == "measured"
        assert found["saving"] == ("measured" if found["before"] and found["after"] else "modelled")
        assert found["saving_s"] >= 0.002 * data["total_s"]


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([NET, "--target", "rk3398"], 2, ("rk3398",)),
        (["fasternet_t9"], 2, ("no model 'fasternet_t9'",)),
        (["nowhere.py:net"], 3, ("nowhere.py does not exist",)),
        ([NET, "--runs", "0"], 2, ("0 runs",)),
        ([f"{MODELS}:broken_weights"], 3, ("NaN",)),
    ],
)
def test_bad_input(arguments: list[str], code: int, parts: tuple[str, ...]) -> None:
    refused(tvm_flow("advise", *arguments), code, *parts)
