"""A bundle's Python package under every interpreter that this machine has, from 3.6 on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundle.arrays import reference, sample
from tests.distribution.environments import interpreter
from tvm_flow.api.runtime_wheel import runtime_wheel

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


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Path:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} in PATH or pyenv")
    return found


def test_without_numpy(pristine: Path, tmp_path: Path, python: Path) -> None:
    sample().tofile(tmp_path / "x.bin")
    command = [str(python), "-I", "-W", "error", "-B", "-c", CODE, str(pristine)]
    done = subprocess.run(
        [*command, str(tmp_path / "x.bin")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    right, *values = done.stdout.split()
    assert right == "True"
    assert [float(value) for value in values] == pytest.approx(reference(sample())[0], rel=1e-4)


def test_run_py(pristine: Path, python: Path) -> None:
    command = [str(python), "-I", "-W", "error", "-B", str(pristine / "run.py"), "--check"]
    done = subprocess.run([*command, "--runs", "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout


def test_the_wheel_needs_nothing_but_itself(pristine: Path, tmp_path: Path) -> None:
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
