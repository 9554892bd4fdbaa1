"""The command that tells how long candidates take to compile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DIGITS = Path(__file__).parents[2] / "examples/digits/models.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.compile_time", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(
    "pipeline",
    [
        pytest.param((), id="ours"),
        pytest.param(("--standard",), id="standard", marks=pytest.mark.slow),
    ],
)
def test_every_step_takes_time(pipeline: tuple[str, ...]) -> None:
    model = f"{DIGITS}:fasternet_digits"
    done = run("--model", model, "--candidates", "1", *pipeline)
    assert done.returncode == 0, done.stderr
    *steps, count = done.stdout.splitlines()
    means = [float(line.split()[0]) for line in steps]
    assert len(means) == 4
    assert abs(sum(means[:3]) - means[3]) <= 2
    assert "candidates of" in count


def test_a_mistake_is_one_line() -> None:
    done = run("--model", "fasternet_t9")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
