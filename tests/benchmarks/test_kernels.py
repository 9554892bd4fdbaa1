"""The command that times single kernels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import kernels
from tvm_flow import targets
from tvm_flow.support.errors import TvmFlowError

KERNEL = "depthwise(act=relu,c=10,c0=0,cp=10,h=7,kh=3,kw=3,n=1,ph=1,pw=1,sh=1,sw=1,w=7):direct"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_variants_are_timed_in_turns() -> None:
    done = run("--rounds", "5", KERNEL, f"{KERNEL};tile=1")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.endswith(KERNEL)
    assert second.endswith(";tile=1")
    assert all(float(line.split()[0]) > 0 for line in (first, second))


def test_a_mistake_is_one_line() -> None:
    done = run(f"{KERNEL};width=2")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: depthwise direct has no knob width. Fix: one of rows, th, tile"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depthwise(c=:direct", "Cannot read"),
        ("nothing(c=1):direct", "known:"),
        (f"{KERNEL};tile=x", "Cannot read"),
        (f"{KERNEL};tile=99", "cannot be built"),
    ],
)
def test_what_cannot_be_timed_is_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TvmFlowError, match=said):
        kernels.candidate(text, targets.load("native"), 1, 0, tmp_path)
