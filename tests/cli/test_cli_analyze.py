"""``analyze`` on a small model: its tables, its document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MODELS, NET, accepted, refused, tvm_flow
from tests.cli.test_cli_verbs import fits_80_columns
from tvm_flow.modelled.tools import find_tools
from tvm_flow.support.errors import EnvironmentFault

#: 3 > 20 with 3x3 and stride 2, 20 > 36 with 1x1, and the head.
MACS = 8 * 8 * (27 * 20 + 20 * 36) + 36 * 10
PARAMETERS = 27 * 20 + 20 + 2 * 20 + 20 * 36 + 36 + 36 * 10 + 10


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without records."""
    return tmp_path_factory.mktemp("none")


@pytest.fixture(scope="module")
def document(none: Path) -> dict[str, Any]:
    arguments = ("analyze", NET, "--threads", "1", "--runs", "5", "--records", none, "--json")
    found: dict[str, Any] = json.loads(accepted(tvm_flow(*arguments)).stdout)
    return found


def test_counts_are_those_of_the_network(document: dict[str, Any]) -> None:
    assert document["macs"] == MACS
    assert document["flops"] == 2 * MACS
    assert document["parameters"] == PARAMETERS
    assert not document["parameters_folded"]
    layers = document["layers"]
    assert sum(layer["macs"] for layer in layers) == MACS
    assert sum(layer["parameters"] for layer in layers) == PARAMETERS
    assert layers[0]["modules"][0] == "body.0"
    for name in ("access_elements", "access_bytes", "moved_bytes", "roofline_s"):
        assert document[name] == pytest.approx(sum(layer[name] for layer in layers))


def test_times_are_measured_and_predictions_add_up(document: dict[str, Any]) -> None:
    assert document["peaks"]["source"] == "measured"
    assert {layer["time"] for layer in document["layers"]} == {"measured"}
    for found in (document, *document["layers"]):
        p = found["predicted"]
        assert p["total_s"] == pytest.approx(p["compute_s"] + p["bandwidth_s"] + p["launch_s"])
        assert found["time_s"] > 0
    assert 0 < document["whole_run"]["p10_s"] <= document["whole_run"]["median_s"]
    left = document["time_s"] - document["predicted"]["total_s"]
    assert document["unexplained_s"] == pytest.approx(left)


def test_versus_shows_every_stage(none: Path) -> None:
    arguments = ("analyze", NET, "--versus", f"{MODELS}:net", "--threads", "1", "--runs", "5")
    shown = accepted(tvm_flow(*arguments, "--records", none)).stdout
    assert fits_80_columns(shown)
    assert "FLOPs say +0 %" in shown
    assert "the time says" in shown
    assert all(f"\n{stage} " in shown for stage in ("8x8", "1x1"))


def test_tables_of_a_board_say_that_times_are_modelled(none: Path) -> None:
    shown = accepted(tvm_flow("analyze", NET, "--target", "rk3399", "--records", none)).stdout
    assert fits_80_columns(shown)
    assert "data sheet of rk3399" in shown.replace("\n", " ")
    assert "predicted" in shown
    try:
        find_tools("aarch64")
    except EnvironmentFault:
        assert "not every kernel has a time" in shown
    else:
        assert "modelled" in shown
        assert "measured" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        ([NET, "--target", "rk3398"], 2, ("rk3398", "rk3399")),
        (["fasternet_t9"], 2, ("no model 'fasternet_t9'",)),
        (["nowhere.py:net"], 3, ("nowhere.py does not exist",)),
        ([NET, "--runs", "0"], 2, ("0 runs",)),
        ([NET, "--threads", "4096"], 2, ("4096",)),
        ([NET, "--versus", "nowhere.onnx"], 3, ("nowhere.onnx",)),
        ([f"{MODELS}:broken_weights"], 3, ("NaN",)),
    ],
)
def test_bad_input(arguments: list[str], code: int, parts: tuple[str, ...]) -> None:
    refused(tvm_flow("analyze", *arguments), code, *parts)
