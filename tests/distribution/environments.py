"""Distributions built from this checkout, and environments outside of it to use them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Versions of Python that the metadata names and that have a lock.
PYTHONS = ("3.11", "3.12", "3.13")
BUILD_TIMEOUT_S, INSTALL_TIMEOUT_S = 120, 1800
#: The first C++ build on a machine also builds libc++, and board kits download 100 MB once.
RUN_TIMEOUT_S = 1200
#: What setuptools must see; building leaves files behind, so it is done in a copy.
SOURCES = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "tvm_flow", "schedules",
           "targets", "tuning_logs")  # fmt: skip
_VERSION = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
_BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_{kind}(sys.argv[1]))
"""


def copy_sources(folder: Path) -> Path:
    """What is built from, links as links, with files that must not be packed among it."""
    unwanted = shutil.ignore_patterns("__pycache__", "local.jsonl", "*.torn", ".lock")
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, folder / name)
    shutil.copy(folder / "tuning_logs/rk3399/zoo.jsonl", folder / "tuning_logs/rk3399/local.jsonl")
    return folder


def build(kind: str, source: Path, output: Path) -> Path:
    """``wheel`` or ``sdist`` of the project in ``source``, with the installed setuptools."""
    output.mkdir(exist_ok=True)
    done = run([sys.executable, "-c", _BUILD.format(kind=kind), output], source, BUILD_TIMEOUT_S)
    return output / done.stdout.splitlines()[-1]


def clean(**more: str) -> dict[str, str]:
    """An environment in which nothing points to the checkout."""
    ours = ("PYTHONPATH", "TVM_FLOW_RECORDS", "XDG_DATA_HOME", "COLUMNS", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1", **more}


def run(
    command: list[str | Path], cwd: Path, timeout_s: float, **more: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=False,
        env=clean(**more),
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True)
class Installed:
    """tvm-flow in an environment of its own; commands run in the empty folder ``work``."""

    python: Path
    work: Path
    data: Path

    @property
    def script(self) -> Path:
        return self.python.with_name("tvm-flow")

    def __call__(self, *arguments: str | Path) -> str:
        """What ``tvm-flow`` prints."""
        return self.execute(self.script, *arguments)

    def execute(self, *command: str | Path) -> str:
        return run(list(command), self.work, RUN_TIMEOUT_S, XDG_DATA_HOME=str(self.data)).stdout


def interpreter(version: str) -> Path | None:
    """A Python of that version with ``venv``, in ``PATH`` or among pyenv's; or ``None``."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(versions.glob(f"{version}.*/bin/python"))]
    for path in map(Path, filter(None, found)):
        # pyenv's shims are there for every version, and fail for those not switched on
        done = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip() == version:
            return path
    return None


def linked(folder: Path, wheel: Path) -> Installed:
    """The wheel beside the packages of this environment, which are found through a ``.pth`` file:
    seconds instead of minutes. Python does not read ``.pth`` files in a folder that one names, so
    that an editable installation of the checkout is out of sight."""
    made = _create(folder, Path(sys.executable), "--without-pip")
    scheme = {"base": str(folder / "env"), "platbase": str(folder / "env")}
    site = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
    places = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (site / "packages-of-the-tests.pth").write_text("\n".join(sorted(places)) + "\n")
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", made.python, "install"]
    run([*pip, "--quiet", "--no-index", "--no-deps", "--force-reinstall", wheel], folder, 120)
    return made


def locked(folder: Path, wheel: Path, python: Path = Path(sys.executable)) -> Installed:
    """The exact versions of the lock for ``python``, then the wheel alone."""
    made = _create(folder, python)
    version = made.execute(made.python, "-c", _VERSION).strip()
    pip: list[str | Path] = [made.python, "-m", "pip", "install", "--quiet"]
    locks = ROOT / "requirements"
    run([*pip, "setuptools==80.9.0"], folder, INSTALL_TIMEOUT_S)
    run([*pip, "-r", locks / f"lock-{version}.txt"], folder, INSTALL_TIMEOUT_S)
    run([*pip, "--no-deps", "-r", locks / "lock-no-deps.txt"], folder, INSTALL_TIMEOUT_S)
    run([*pip, "--no-index", "--no-deps", wheel], folder, INSTALL_TIMEOUT_S)
    return made


def _create(folder: Path, python: Path, *options: str) -> Installed:
    run([python, "-m", "venv", *options, folder / "env"], folder, BUILD_TIMEOUT_S)
    (folder / "work").mkdir()
    return Installed(folder / "env" / "bin" / "python", folder / "work", folder / "data")
