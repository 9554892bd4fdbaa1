"""The command line as a user types it: another process, with its own streams and exit code.

``script`` starts the installed script; ``tvm_flow`` runs the same in a fork (see tests/forked.py),
which saves the seconds that importing TVM and torch takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forked import NURSERY, Done

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "tvm-flow"
MODELS = Path(__file__).with_name("user_models.py")
NET = f"{MODELS}:net"

TIMEOUT_S = 200


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("TVM_FLOW_RECORDS", "COLUMNS")}
    # this checkout, also where the script was installed for another one
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def tvm_flow(*arguments: str | Path, cwd: Path | None = None, **more: str) -> Done:
    """Run ``tvm-flow`` with ``arguments``; ``more`` goes to its environment."""
    return NURSERY.run(arguments, cwd=cwd, environment=environment(**more), timeout_s=TIMEOUT_S)


def script(*arguments: str | Path, cwd: Path | None = None, **more: str) -> Done:
    """The same by the installed script."""
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=cwd,
        env=environment(**more),
    )


def started(*arguments: str | Path, **more: str) -> subprocess.Popen[str]:
    """Start ``tvm-flow`` as the foreground job of a terminal: for :func:`ctrl_c`."""
    return subprocess.Popen(
        [SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=environment(**more),
    )  # fmt: skip


def ctrl_c(process: subprocess.Popen[str], when: Callable[[], bool]) -> str:
    """Press Ctrl-C once ``when`` holds: every process of the job hears of it. What the command
    said on standard error, of which the last line must be ``interrupted``."""
    deadline = time.monotonic() + 120
    try:
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    return err


def accepted(done: Done) -> Done:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def refused(done: Done, code: int, *parts: str) -> str:
    """One line that says what, why and what to do, and nothing else; returns it."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert ". Fix: " in lines[0]
    assert done.stdout == ""
    for part in parts:
        assert part in lines[0]
    return lines[0]


def compiled(run: Callable[..., Done], folder: Path) -> Path:
    """:data:`NET` as a bundle in ``folder``, by :func:`script` or :func:`tvm_flow`."""
    made = folder / "net"
    accepted(run("compile", NET, "-o", made, "--threads", "1", "--records", folder / "none"))
    return made


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:data:`NET` compiled through the command line for one thread, without records."""
    return compiled(tvm_flow, tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="session")
def board_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for an ARM board."""
    made = tmp_path_factory.mktemp("cli") / "board"
    done = accepted(tvm_flow("compile", NET, "--target", "rk3399", "-o", made))
    assert "not run here" in done.stdout
    return made
