"""A bundle's Python package under every interpreter that this machine has, from 3.6 on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.bundle.arrays import reference, sample

#: Versions that boards have: JetPack 4 to 6, Debian 11 to 13, and the newest.
VERSIONS = [f"3.{minor}" for minor in range(6, 15)]

#: What a user types, without NumPy and without anything of ours but the bundle.
CODE = """
import array, sys
bundle, given = sys.argv[1:]
sys.modules["numpy"] = None  # as if it were not installed
sys.path.insert(0, bundle + "/python")
import tvm_flow
network = tvm_flow.load(bundle, threads=1)
with open(given, "rb") as file:
    x = array.array("f", file.read())
result = network(x)
assert result.shape == network.outputs[0].shape
network.buffers[0].cast("B")[:] = x.tobytes()
assert network.run() == result
try:
    network([1.0])
except tvm_flow.UsageError as error:
    assert "buffer protocol" in str(error)
else:
    raise AssertionError
print(network.check() <= network.tolerance, *result.tolist()[0])
"""


@cache
def interpreters() -> dict[str, Path]:
    """By version: those on PATH, and those that pyenv has beside this one."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += Path(sys.base_prefix).parent.glob("*/bin")
    folders += Path.home().glob(".pyenv/versions/*/bin")
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("python3*")) if folder.is_dir() else []:
            if not re.fullmatch(r"python3(\.\d+)?", path.name) or ".venv" in path.parts:
                continue
            code = "import sys; print('%d.%d' % sys.version_info[:2])"
            told = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
            if told.returncode == 0:
                found.setdefault(told.stdout.strip(), path)
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_without_numpy(pristine: Path, tmp_path: Path, version: str) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    sample().tofile(tmp_path / "x.bin")
    command = [str(python), "-I", "-W", "error", "-B", "-c", CODE, str(pristine)]
    done = subprocess.run(
        [*command, str(tmp_path / "x.bin")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    right, *values = done.stdout.split()
    assert right == "True"
    assert [float(value) for value in values] == pytest.approx(reference(sample())[0], rel=1e-4)


@pytest.mark.parametrize("version", VERSIONS)
def test_run_py(pristine: Path, version: str) -> None:
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    command = [str(python), "-I", "-W", "error", "-B", str(pristine / "run.py"), "--check"]
    done = subprocess.run([*command, "--runs", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout


@pytest.mark.skipif(shutil.which("pip") is None, reason="needs pip")
def test_the_wheel_needs_nothing_but_itself(pristine: Path, tmp_path: Path) -> None:
    from tvm_flow.api.runtime_wheel import runtime_wheel  # noqa: PLC0415

    wheel = runtime_wheel("native", output=tmp_path)
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*install, "--target", tmp_path / "site", wheel], check=True)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import tvm_flow; "
    code += "print(tvm_flow.__file__, tvm_flow.load(sys.argv[2]).check() < 1e-4)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "site"), str(pristine)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(tmp_path / "site" / "tvm_flow" / "__init__.py"), "True"]
