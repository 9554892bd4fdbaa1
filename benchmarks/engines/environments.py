"""Virtual environments of the peers, each from a file of exact versions in ``requirements/``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tvm_flow.support.errors import EnvironmentFault

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS_FOLDER = ROOT / "build" / "peers"
_STAMP = ".installed"
NAMES: tuple[str, ...] = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))


def python(name: str, folder: Path = PEERS_FOLDER) -> Path:
    """The interpreter of an environment; "" is the one running.

    Raises :class:`EnvironmentFault` where it is not installed, or from other requirements.
    """
    if not name:
        return Path(sys.executable)
    stamp = folder / name / _STAMP
    if not stamp.is_file() or stamp.read_text() != _digest(name):
        missing = "is not installed" if not stamp.is_file() else "is outdated"
        raise EnvironmentFault(
            f"the environment {name} {missing}",
            fix=f"python -m benchmarks.setup_peers {name}",
        )
    return folder / name / "bin" / "python"


def install(name: str, folder: Path = PEERS_FOLDER) -> None:
    """Create an environment, or do nothing where it is complete.

    Raises :class:`EnvironmentFault` with pip's own last words; what was there is removed, so that
    half an environment is never used.
    """
    place, stamp = folder / name, folder / name / _STAMP
    if stamp.is_file() and stamp.read_text() == _digest(name):
        return
    shutil.rmtree(place, ignore_errors=True)
    # with the pip there is: putting one into the environment takes longer than the rest of it
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]
    quiet = ["--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", str(place)],
        [*pip, "install", *quiet, "-r", str(REQUIREMENTS / f"{name}.txt")],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            errors = [x for x in done.stderr.splitlines() if x.startswith("ERROR")]
            raise EnvironmentFault(
                f"the environment {name} cannot be installed",
                why=(errors or done.stderr.splitlines() or ["pip said nothing"])[0],
                fix=f"python -m benchmarks.setup_peers {name}",
            )
    stamp.write_text(_digest(name))


def environ(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables for a process of any environment: this checkout, not its packages."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONNOUSERSITE": "1", **(extra or {})}


@cache
def version(name: str, distribution: str) -> str:
    """Version of an installed distribution. Raises :class:`EnvironmentFault` as :func:`python`."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [str(python(name)), "-c", code, distribution]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise EnvironmentFault(
            f"{distribution} is not installed in the environment {name or '.venv'}"
        )
    return done.stdout.strip()


def _digest(name: str) -> str:
    return hashlib.sha256((REQUIREMENTS / f"{name}.txt").read_bytes()).hexdigest()
