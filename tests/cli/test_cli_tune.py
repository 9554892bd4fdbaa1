"""Tuning from the command line: records, resume, Ctrl-C, two at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.conftest import NET, ROOT, SCRIPT, accepted, environment, refused, script, tvm_flow
from tvm_flow import targets

FOLDER = targets.load("native").log_name


def lines(records: Path) -> list[str]:
    log = records / FOLDER / "local.jsonl"
    return log.read_text().splitlines() if log.is_file() else []


def wait_for_trials(records: Path, process: subprocess.Popen[str], count: int = 3) -> None:
    deadline = time.monotonic() + 120
    while len(lines(records)) < count + 1:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records with a few trials of every kernel."""
    records = tmp_path_factory.mktemp("records")
    done = accepted(script("tune", NET, "--trials", "8", "--records", records, "--json"))
    data = json.loads(done.stdout)
    assert (data["measured"], data["total"], data["interrupted"]) == (8, 8, False)
    assert all(task["best_s"] > 0 for task in data["tasks"])
    return records


def test_the_same_command_goes_on(tuned: Path) -> None:
    before = lines(tuned)
    done = accepted(tvm_flow("tune", NET, "--trials", "10", "--records", tuned))
    assert lines(tuned)[: len(before)] == before
    assert "10 trials are done" in done.stdout.replace("\n", " ")


def test_compile_uses_the_records(tuned: Path, tmp_path: Path) -> None:
    """The folder from the environment this time."""
    made = tmp_path / "net"
    done = tvm_flow("compile", NET, "-o", made, "--threads", "1", "--json",
                    TVM_FLOW_RECORDS=str(tuned))  # fmt: skip
    data = json.loads(accepted(done).stdout)
    assert data["tuned"] == data["kernels"] > 0
    manifest = json.loads((made / "manifest.json").read_text())
    recorded = {json.loads(line)["sha"] for line in lines(tuned)}
    assert {kernel["source"] for kernel in manifest["kernels"]} == {"tuned"}
    assert {kernel["record_sha"] for kernel in manifest["kernels"]} <= recorded


def test_show_promote_repair(tuned: Path) -> None:
    shown = json.loads(accepted(tvm_flow("records", "show", "--records", tuned, "--json")).stdout)
    assert shown["records"] == len(lines(tuned)) - 1
    assert all(row["best_s"] > 0 for row in shown["kernels"])
    table = accepted(script("records", "show", tuned / FOLDER)).stdout
    assert "conv2d" in table
    assert all(len(line) <= 80 for line in table.splitlines()[1:])
    accepted(script("records", "promote", "--records", tuned))
    assert (tuned / FOLDER / "zoo.jsonl").is_file()
    before = lines(tuned)
    assert " kept, 0 moved" in accepted(script("records", "repair", tuned / FOLDER)).stdout
    assert lines(tuned) == before


def test_migrate_old_records(tmp_path: Path) -> None:
    name = "native-x86_64-avx512-2fma"
    folder = tmp_path / name
    shutil.copytree(ROOT / "tests/tuning/schema1" / name, folder)
    before = json.loads(accepted(tvm_flow("records", "show", folder, "--json")).stdout)
    done = json.loads(accepted(tvm_flow("records", "migrate", folder, "--json")).stdout)
    assert done["migrated"] == {"local.jsonl": before["records"]}
    after = json.loads(accepted(tvm_flow("records", "show", folder, "--json")).stdout)
    for row in (*before["kernels"], *after["kernels"]):
        del row["sha"]
    assert after == before
    assert "nothing to do" in accepted(script("records", "migrate", folder)).stdout


def test_ctrl_c_and_a_second_tuner(tmp_path: Path) -> None:
    """One line for the second, who changes nothing; Ctrl-C on the first keeps every trial."""
    first = subprocess.Popen(
        [SCRIPT, "tune", NET, "--minutes", "10", "--records", tmp_path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    try:
        wait_for_trials(tmp_path, first)
        second = tvm_flow("tune", NET, "--trials", "5", "--records", tmp_path)
        refused(second, 4, "are in use", f"process {first.pid}", "wait for it")
        assert first.poll() is None
        kept = lines(tmp_path)
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    finally:
        first.kill()
    assert first.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "interrupted"
    assert "all of them are kept" in out.replace("\n", " ")
    assert lines(tmp_path)[: len(kept)] == kept
    accepted(tvm_flow("records", "show", "--records", tmp_path))
