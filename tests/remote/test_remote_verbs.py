"""``tracker``, ``boards``, ``tune --tracker`` and ``compare --tracker`` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.boards.farm import free_port, until
from tests.forked import NURSERY, Done
from tests.remote.lab import ROOT, Lab
from tvm_flow.boards.emulate import EmulatedBoard
from tvm_flow.remote import client
from tvm_flow.remote.health import Throttled, advice, require_steady, throttling
from tvm_flow.remote.probe import Probe, judged
from tvm_flow.support.address import parse_address

MODEL = "examples/digits/models.py:fasternet_digits"
OTHER = "examples/digits/models.py:shufflenet_digits"


def flow(*arguments: str, timeout_s: float = 120) -> Done:
    return NURSERY.run(
        arguments, cwd=ROOT, environment={**os.environ, "COLUMNS": "80"}, timeout_s=timeout_s
    )


def document(done: Done) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_boards_are_listed(lab: Lab) -> None:
    lab.board(name="desk-1")
    address = parse_address(lab.tracker.address)
    until(lambda: client.summary(address).of(lab.key))
    shown = flow("boards", "--tracker", lab.tracker.address)
    assert shown.returncode == 0, shown.stderr
    assert "desk-1" in shown.stdout
    assert "free" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    (board,) = [
        b for b in document(flow("boards", "list", "--tracker", lab.tracker.address, "--json"))[
            "boards"] if b["key"] == lab.key
    ]  # fmt: skip
    assert board["busy"] is False
    assert board["silent_s"] < 15


def test_a_board_is_checked(lab: Lab) -> None:
    lab.board(name="desk-2")
    done = flow("boards", "check", lab.key, "--target", "native",
                "--tracker", lab.tracker.address, "--json")  # fmt: skip
    (board,) = json.loads(done.stdout)["boards"]
    assert board["name"] == "desk-2"
    assert board["gflops"] > 0  # whether it is quiet depends on what else runs here


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["boards", "--tracker", "nowhere"], 2, "is not HOST:PORT"),
        (["boards", "check", "rk3399", "--tracker", "127.0.0.1:1"], 11, "No tracker at"),
        (["tune", MODEL, "--key", "x"], 2, "add --tracker"),
        (["compare", MODEL, "--key", "x"], 2, "add --tracker"),
        (["tune", MODEL, "--target", "rk3399", "--tracker", "127.0.0.1:1"], 11, "No tracker at"),
        (["compare", MODEL, "--target", "rk3399", "--tracker", "127.0.0.1:1"], 11, "No tracker"),
        (["tracker", "--host", "192.0.2.7"], 10, "Cannot listen on"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments: list[str], code: int, words: str) -> None:
    done = flow(*arguments)
    assert done.returncode == code, done.stderr
    (line,) = [text for text in done.stderr.splitlines() if "error" in text]
    assert words in line
    assert "Traceback" not in done.stderr


def test_unknown_key_names_the_known_ones(lab: Lab) -> None:
    lab.board()
    until(lambda: client.summary(parse_address(lab.tracker.address)).of(lab.key))
    done = flow("boards", "check", "rk3399", "--tracker", lab.tracker.address)
    assert done.returncode == 11
    assert lab.key in done.stderr


def test_tracker_warns_and_ends_with_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tvm_flow", "tracker", "--host", "0.0.0.0", "--port",
         str(free_port())],
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert "can run code on the boards" in process.stderr.readline()
        assert "tracker on 0.0.0.0:" in process.stderr.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_bundle_and_eager_are_compared_on_a_board(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{interpreter}:{os.environ['PATH']}")  # the board's python3
    lab.board()
    (result,) = document(flow(
        "compare", MODEL, "--target", "native", "--threads", "1", "--tracker",
        lab.tracker.address, "--key", lab.key, "--rounds", "2", "--json",
    ))  # fmt: skip
    assert result["label"] == "measured"
    assert result["max_rel_error"] < 1e-4
    assert result["bundle"]["median_ms"] > 0
    if (interpreter / "python3").exists():
        assert result["eager_missing"] == ""
        assert result["eager_max_rel_error"] < 1e-4
        assert result["eager"]["median_ms"] > 0
        assert result["speedup"] == pytest.approx(
            result["eager"]["median_ms"] / result["bundle"]["median_ms"]
        )


@pytest.mark.system("emulate")
def test_emulated_rk3399_from_tuning_to_the_bundle(lab: Lab, tmp_path: Path) -> None:
    """Tracker, emulated board, a few trials over the network, a bundle from the records, and its
    result on the board against PyTorch's: the whole way, without a board."""
    tracker = lab.tracker.address
    with EmulatedBoard("rk3399", tracker, key=lab.key):
        tuned = document(flow(
            "tune", MODEL, "--target", "rk3399", "--tracker", tracker, "--key", lab.key,
            "--trials", "14", "--records", str(tmp_path), "--json",
        ))  # fmt: skip
        assert tuned["label"] == "emulated"
        assert tuned["total"] == 14
        assert not tuned["failures"]
        assert any("emulated" in line for line in (tmp_path / "rk3399/local.jsonl").open())
        made = document(flow(
            "compile", MODEL, "--target", "rk3399", "--threads", "2", "--records", str(tmp_path),
            "-o", str(tmp_path / "bundle"), "--json",
        ))  # fmt: skip
        assert made["tuned"] == 0  # an emulator's clock is no reason to prefer a schedule
        (result,) = document(flow(
            "compare", MODEL, "--bundle", str(tmp_path / "bundle"), "--target", "rk3399",
            "--threads", "2", "--tracker", tracker, "--key", lab.key, "--rounds", "2", "--json",
        ))  # fmt: skip
    assert result["label"] == "emulated"
    assert result["valid"] is False
    assert result["eager"] is None
    assert result["max_rel_error"] < 1e-4


class _Board:
    """A board that tells a list of statuses one after the other, the last one again and again."""

    def __init__(self, *statuses: dict[str, Any]) -> None:
        self._statuses = list(statuses)

    def status(self) -> dict[str, Any]:
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]


def test_hot_boards_are_waited_for_and_throttled_times_refused() -> None:
    hot, cool = {"temperature_c": 82.0}, {"temperature_c": 50.0}
    require_steady(_Board(hot, cool))(_Board(cool))
    with pytest.raises(Throttled, match="did not cool"):
        require_steady(_Board(hot), cooling_s=0.0)
    fixed = {"governor": ["performance"], "mhz": [1800.0], "max_mhz": [1800.0]}
    slow = {**fixed, "mhz": [1200.0]}
    assert throttling(fixed, fixed) == ""
    assert "1200 of 1800 MHz" in throttling(fixed, slow)
    assert "1200" in throttling(fixed, {**slow, "governor": ["performance", None]})
    assert throttling(fixed, {**slow, "governor": ["ondemand"]}) == ""  # it does so on purpose
    assert "throttled 2 time" in throttling({"throttle_events": 1}, {"throttle_events": 3})
    assert throttling({}, {}) == ""  # TVM's own server tells nothing
    assert len(advice({"governor": ["ondemand"], "temperature_c": 80.0, "load1": 2.0})) == 3


def test_noisy_and_odd_boards_are_judged() -> None:
    quiet = [Probe(f"b{n}", f"b{n}", "", 1e-3, 1.02, 10.0) for n in range(3)]
    assert [probe.trouble for probe in judged(quiet)] == ["", "", ""]
    slow = Probe("slow", "slow", "", 1.5e-3, 1.02, 7.0)
    noisy = Probe("noisy", "noisy", "", 1e-3, 1.4, 10.0)
    verdicts = {probe.name: probe.trouble for probe in judged([*quiet, slow, noisy])}
    assert "50% slower" in verdicts["slow"]
    assert "vary by 40 %" in verdicts["noisy"]
    emulated = Probe("emu", "emu", "", 1e-3, 1.4, 10.0, emulated=True)
    assert judged([emulated])[0].trouble == ""


def test_eager_of_another_network_is_no_comparison(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The bundle is right by its own sample; PyTorch there runs another model."""
    interpreter = Path(sys.executable).parent
    if not (interpreter / "python3").exists():
        pytest.skip("the board's python3 would have no PyTorch")
    monkeypatch.setenv("PATH", f"{interpreter}:{os.environ['PATH']}")
    lab.board()
    document(flow("compile", OTHER, "--target", "native", "-o", str(tmp_path / "b"), "--json"))
    done = flow(
        "compare", MODEL, "--bundle", str(tmp_path / "b"), "--target", "native", "--threads", "1",
        "--tracker", lab.tracker.address, "--key", lab.key, "--rounds", "2",
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert "computes something else than the bundle" in done.stderr
