"""Every verb on a small model: what it prints, in words and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tvm_flow as package
from tests.cli.conftest import (
    MODELS,
    NET,
    ROOT,
    accepted,
    compiled,
    environment,
    script,
    tvm_flow,
)
from tvm_flow import targets
from tvm_flow.cli import main

VERBS = ("doctor", "targets", "models", "trace", "analyze", "advise", "tune", "compile",
         "compile-all", "run", "check", "compare", "profile", "records show", "records repair",
         "records promote", "records migrate", "board-kit", "runtime-wheel", "demo")  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As everywhere, but by the installed script."""
    return compiled(script, tmp_path_factory.mktemp("cli"))


def parsed(*arguments: str | Path, **more: str) -> Any:
    """The JSON document of a command: all of standard output."""
    return json.loads(accepted(tvm_flow(*arguments, "--json", **more)).stdout)


def fits_80_columns(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert "Examples" in text
    assert f"tvm-flow {verb}" in text.split("Examples")[1]
    assert "--json" in text
    assert "--debug" in text


def test_help_and_version() -> None:
    done = accepted(script("--help"))
    assert all(f" {verb.split()[0]} " in done.stdout for verb in VERBS)
    assert "130 Ctrl-C" in done.stdout
    assert accepted(script("--version")).stdout == f"tvm-flow {package.__version__}\n"
    module = subprocess.run(
        [sys.executable, "-m", "tvm_flow", "--version"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert module.stdout == f"tvm-flow {package.__version__}\n"


def test_help_loads_neither_tvm_nor_torch() -> None:
    code = (
        "import sys; sys.modules.update(tvm=None, torch=None, tvm_ffi=None)\n"
        "from tvm_flow.cli import main; sys.exit(main(['compile', '--help']))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_completion() -> None:
    more = {
        "_TVM_FLOW_COMPLETE": "complete_bash",
        "COMP_WORDS": "tvm-flow targets rk",
        "COMP_CWORD": "2",
    }
    done = script(**more)
    assert done.stdout.split() == ["rk3399", "rk3399-little"]


def test_targets() -> None:
    listed = accepted(script("targets"))
    assert fits_80_columns(listed.stdout)
    assert all(name in listed.stdout for name in targets.names())
    one = accepted(tvm_flow("targets", "rk3399"))
    assert "cortex-a72" in one.stdout
    assert fits_80_columns(one.stdout)
    data = parsed("targets", "rk3399")
    assert (data["name"], data["threads"], data["tvm_target"]["kind"]) == ("rk3399", 2, "llvm")


def test_models() -> None:
    rows = {row["name"]: row for row in parsed("models", "--costs")}
    assert rows["fasternet_t0"] == {
        "name": "fasternet_t0", "parameters": 3905500, "macs": 335422720,
    }  # fmt: skip
    assert accepted(script("models")).stdout.splitlines()[0] == "fasternet_t0"


def test_trace_digits() -> None:
    """Both networks of the digits: the tables, and that no copy is left."""
    done = accepted(script("trace", f"{ROOT}/examples/digits/models.py:fasternet_digits"))
    assert fits_80_columns(done.stdout)
    assert "pconv_block" in done.stdout
    data = parsed("trace", "--model", f"{ROOT}/examples/digits/models.py:shufflenet_digits")
    assert data["before"]["copies"] > data["after"]["copies"] == 0
    assert data["copies_removed"] == data["before"]["copies"]
    assert data["after"]["bytes_moved"] < data["before"]["bytes_moved"]
    assert data["tasks"][0]["modules"]
    assert data["graph_after"][-1].startswith("return ")


def test_compile_and_check(bundle: Path) -> None:
    data = parsed("check", bundle)
    assert data["ok"] is True
    assert data["max_rel_error"] <= data["tolerance"] == 1e-4
    assert "is sound" in accepted(script("check", bundle)).stdout
    run_py = subprocess.run(
        [sys.executable, bundle / "run.py", "--check", "--runs", "2"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert "check passed" in run_py.stdout


def test_compile_again_replaces_in_nhwc(bundle: Path, tmp_path: Path) -> None:
    """Another layout at the same place, for a batch of two."""
    made = tmp_path / "net"
    subprocess.run(["cp", "-r", bundle, made], check=True)
    data = parsed("compile", NET, "-o", made, "--layout", "NHWC", "--input", "2x3x16x16",
                  "--records", tmp_path)  # fmt: skip
    assert data["verified"] is True
    assert (data["layout"], data["tuned"], data["kernels"] > 0) == ("NHWC", 0, True)
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["inputs"][0]["shape"] == [2, 16, 16, 3]
    assert sorted(tmp_path.iterdir()) == [made], "nothing is left beside the bundle"


def test_run(bundle: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal((1, 3, 16, 16), np.float32)
    np.save(tmp_path / "x.npy", x)
    x.tofile(tmp_path / "x.bin")
    data = parsed("run", bundle, "--input", tmp_path / "x.npy", "--save", tmp_path / "y.npy",
                  "--runs", "3", "--top", "2")  # fmt: skip
    logits = np.load(tmp_path / "y.npy")
    assert [row["index"] for row in data["top"]] == np.argsort(-logits[0])[:2].tolist()
    assert data["timing"]["runs"] == 3
    again = parsed("run", bundle, "--input", tmp_path / "x.bin", "--top", "2")
    assert again["top"] == data["top"]
    assert "class" in accepted(script("run", bundle)).stdout


def test_profile(bundle: Path) -> None:
    data = parsed("profile", bundle, "--runs", "5", "--memory")
    assert data["threads"] == 1
    assert {kernel["source"] for kernel in data["kernels"]} >= {"default"}
    assert data["memory"]["arena"] > 0
    assert fits_80_columns(accepted(script("profile", bundle, "--runs", "5")).stdout)


def test_compare(bundle: Path) -> None:
    done = script("compare", NET, "--bundle", bundle, "--threads", "1", "--rounds", "1", "--json")
    (row,) = json.loads(accepted(done).stdout)
    assert {"model", "target", "threads", "eager", "bundle", "speedup", "max_rel_error", "cosine",
            "top1_agreement", "valid"} <= row.keys()  # fmt: skip
    assert row["eager"].keys() >= {"median_ms", "p10_ms", "p90_ms"} <= row["bundle"].keys()
    assert row["max_rel_error"] < 1e-4
    assert row["top1_agreement"] == 1
    assert row["speedup"] > 0


def test_debug_shows_the_traceback() -> None:
    done = tvm_flow("compile", NET, "--target", "nope", "-o", "x", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: Unknown target")


def test_a_bug_is_one_line_too(tmp_path: Path) -> None:
    """An exception that is not ours, provoked by a broken TVM."""
    (tmp_path / "tvm").mkdir()
    (tmp_path / "tvm" / "__init__.py").write_text("raise RuntimeError('no such TVM')\n")
    done = script("trace", NET, PYTHONPATH=str(tmp_path))
    assert done.returncode == 70
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: RuntimeError: no such TVM. This is a bug")


def test_model_is_needed_once() -> None:
    assert "No model is named" in tvm_flow("trace").stderr
    assert "Two models" in tvm_flow("trace", "a", "--model", "b").stderr
    assert MODELS.is_file()


def test_closed_pipe() -> None:
    done = subprocess.run(
        f"{sys.executable} -m tvm_flow targets | head -1", shell=True, capture_output=True,
        text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_several_inputs_and_a_sample(tmp_path: Path) -> None:
    """Named in another order than the model's, and read from a file."""
    tokens, out = f"{MODELS}:tokens", tmp_path / "net"
    given = ["--input", "mask=1x5", "--input", "ids=1x5:int64"]
    traced = parsed("trace", tokens, *given)
    assert [(spec["name"], spec["dtype"]) for spec in traced["inputs"]] == [
        ("ids", "int64"), ("mask", "float32"),
    ]  # fmt: skip
    assert "ids=1x5:int64 mask=1x5" in accepted(tvm_flow("trace", tokens, *given)).stdout
    sample = {"mask": np.ones((1, 6)), "ids": np.full((1, 6), 8)}
    np.savez(tmp_path / "sample.npz", **sample)
    accepted(tvm_flow("compile", tokens, "--sample", tmp_path / "sample.npz", "-o", out))
    np.testing.assert_array_equal(np.load(out / "sample_input.npy"), sample["ids"])
    ran = parsed("run", out)
    assert ran["outputs"] == [
        {"name": "scores", "shape": [1, 4], "dtype": "float32"},
        {"name": "best", "shape": [1], "dtype": "int64"},
    ]
    assert parsed("check", out)["max_rel_error"] < 1e-5
