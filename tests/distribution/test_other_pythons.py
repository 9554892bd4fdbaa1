"""The other versions of Python that the metadata names, where this machine has them.

Their PyTorch is several gigabytes from most indexes, so that installing and using tvm-flow there
needs ``TVM_FLOW_TEST_INSTALL=1``; that the code suits them is checked without.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.distribution.environments import PYTHONS, ROOT, interpreter, locked, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ALLOWED = "TVM_FLOW_TEST_INSTALL"
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
#: ``compileall`` follows no links.
FOLDERS = ("tvm_flow", "schedules", "targets", "tests", "examples", "benchmarks")
#: What an environment with nothing in it lacks, by import name.
PACKAGES = ("tvm", "tvm_ffi", "torch", "numpy", "onnx", "typer", "rich", "PIL", "psutil",
            "safetensors", "packaging", "tornado", "cloudpickle", "xgboost")  # fmt: skip


@pytest.fixture(params=[version for version in PYTHONS if version != THIS])
def python(request: pytest.FixtureRequest) -> Path:
    found = interpreter(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} with venv in PATH or pyenv")
    return found


def test_every_file_compiles(python: Path, tmp_path: Path) -> None:
    """Without a warning: an escape that will be an error is one now."""
    folders = [ROOT / name for name in FOLDERS]
    run([python, "-W", "error", "-m", "compileall", "-q", "-f", *folders], tmp_path, 120,
        PYTHONPYCACHEPREFIX=str(tmp_path / "compiled"))  # fmt: skip


def test_what_needs_no_packages_is_imported(python: Path, tmp_path: Path) -> None:
    done = run([python, "-W", "error", Path(__file__).with_name("import_all.py"), *PACKAGES],
               tmp_path, 120, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1")  # fmt: skip
    imported, lacking = map(int, done.stdout.split())
    assert imported > 60
    assert lacking > 0, "this Python has packages: it is not the empty one that was meant"


@pytest.mark.skipif(
    not os.environ.get(ALLOWED), reason=f"downloads gigabytes: set {ALLOWED}=1 to install"
)
def test_install_compile_check(python: Path, wheel: Path, tmp_path: Path) -> None:
    try:
        made = locked(tmp_path, wheel, python)
        checks = json.loads(made("doctor", "--json"))
        assert [c for c in checks if not c["ok"] and not c["warning"]] == []
        report = json.loads(made("compile", "shufflenet_v2_x0_5", "-o", "net", "--json"))
        assert report["tuned"] > 0
        checked = json.loads(made("check", "net", "--json"))
        assert 0 < checked["max_rel_error"] <= checked["tolerance"]
    finally:
        shutil.rmtree(tmp_path)
