"""The built distributions: what is in them, and that the wheel does the whole job without this
checkout.

The default suite looks inside and runs what is quick. ``make test-slow`` installs the lock and the
wheel into a new environment, which takes the time and the gigabyte that ``make venv`` takes.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.boards.farm import Tracker, until
from tests.cli.conftest import accepted, tvm_flow
from tests.distribution.environments import (
    PYTHONS,
    ROOT,
    Installed,
    build,
    clean,
    linked,
    locked,
)
from tvm_flow import __version__, targets
from tvm_flow.api.boards import store_of
from tvm_flow.boards.emulate import PACKAGES, emulator_command
from tvm_flow.support.errors import EnvironmentFault

NETWORK = "shufflenet_v2_x0_5"
INSTALL_TIMEOUT_S = 3600
#: Files of the checkout's packages that are nobody else's business.
LEFT_OUT = re.compile(r"__pycache__|/\.|/local\.jsonl$|\.torn$")


@pytest.fixture(scope="module")
def quick(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return linked(tmp_path_factory.mktemp("linked"), wheel)


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("locked")
    yield locked(folder, wheel)
    shutil.rmtree(folder)  # a gigabyte


def packed(wheel: Path) -> dict[str, bytes]:
    """Every file of the package in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        return {name: archive.read(name) for name in names}


def described(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"tvm_flow-{__version__}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    found = {
        str(Path(folder, name).relative_to(ROOT))
        for folder, _, names in os.walk(ROOT / "tvm_flow", followlinks=True)
        for name in names
    }
    wanted = {name for name in found if not LEFT_OUT.search(name)}
    content = packed(wheel)
    assert wanted == set(content)
    assert {
        "tvm_flow/boards/checks.sh", "tvm_flow/boards/bundle_files/install.sh",
        "tvm_flow/targets/rk3399.toml", "tvm_flow/tuning_logs/rk3399/zoo.jsonl",
    } <= wanted  # fmt: skip
    assert all(content[name] == (ROOT / name).read_bytes() for name in wanted)


def test_the_only_import_name_is_ours(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {
            "tvm_flow", f"tvm_flow-{__version__}.dist-info",
        }  # fmt: skip
        assert archive.read(f"tvm_flow-{__version__}.dist-info/top_level.txt") == b"tvm_flow\n"


def test_the_source_distribution_makes_the_same_wheel(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    again = build("wheel", unpacked, tmp_path / "dist")
    assert packed(again) == packed(wheel)
    assert again.name == wheel.name


def test_metadata(wheel: Path) -> None:
    data = described(wheel)
    assert data["Version"] == __version__
    assert data["Requires-Python"] == ">=3.11"
    needed = [line for line in data.get_all("Requires-Dist", []) if "extra ==" not in line]
    exact = sorted(line.partition("=")[0] for line in needed if "==" in line)
    assert exact == ["apache-tvm", "apache-tvm-ffi"], "nobody could have another version of it"
    assert all(re.search("[<>=]=", line) for line in needed)


@pytest.mark.parametrize("version", PYTHONS)
def test_locks_satisfy_the_metadata(wheel: Path, version: str) -> None:
    """Every requirement, also of the extras, has one exact version that is in its range."""
    lock = (ROOT / "requirements" / f"lock-{version}.txt").read_text()
    lock += (ROOT / "requirements" / "lock-no-deps.txt").read_text()
    found = re.findall(r"^([\w.-]+)==(\S+)$", lock, re.M)
    locked_versions = {canonicalize_name(name): number for name, number in found}
    assert len(locked_versions) == len(found)
    for line in described(wheel).get_all("Requires-Dist", []):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked_versions[canonicalize_name(wanted.name)]), line


def test_an_installed_wheel_finds_its_files(quick: Installed) -> None:
    assert quick("--version") == f"tvm-flow {__version__}\n"
    where = quick.execute(quick.python, "-c", "import tvm_flow; print(tvm_flow.__path__[0])")
    assert Path(where.strip()).is_relative_to(quick.python.parents[1])
    assert json.loads(quick("targets", "rk3399", "--json"))["name"] == "rk3399"
    shown = json.loads(quick("records", "show", "--target", "rk3399", "--json"))
    assert shown["records"] == len(store_of(targets.load("rk3399"))) > 0
    assert shown["directory"] == str(quick.data / "tvm-flow" / "tuning_logs" / "rk3399")
    assert not quick.data.exists(), "reading makes no folders"
    assert list(quick.work.iterdir()) == []


def test_the_demo_says_that_it_needs_a_checkout(quick: Installed) -> None:
    done = subprocess.run(
        [quick.script, "demo"], cwd=quick.work, capture_output=True, text=True, check=False,
        env=clean(),
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs a checkout" in done.stderr
    assert "git clone" in done.stderr


# -- the whole job, with the locked versions ----------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_TIMEOUT_S)
def test_doctor(whole: Installed) -> None:
    checks = {check["name"]: check for check in json.loads(whole("doctor", "--json"))}
    assert [c for c in checks.values() if not c["ok"] and not c["warning"]] == []
    assert str(whole.python.parents[1]) in checks["committed records"]["detail"]
    assert str(whole.data) in checks["tuning_logs"]["detail"]


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_TIMEOUT_S)
def test_compile_and_check(whole: Installed, tmp_path: Path) -> None:
    """As many tuned kernels as from the checkout, and both bundles are right."""
    here: dict[str, Any] = json.loads(
        accepted(tvm_flow("compile", NETWORK, "-o", tmp_path / "net", "--json")).stdout
    )
    there = json.loads(whole("compile", NETWORK, "-o", "net", "--json"))
    assert (there["tuned"], there["kernels"]) == (here["tuned"], here["kernels"])
    assert there["tuned"] > 0
    assert there["verified"]
    assert there["committed_records"].startswith(str(whole.python.parents[1]))
    checked = json.loads(whole("check", "net", "--json"))
    assert 0 < checked["max_rel_error"] <= checked["tolerance"]
    assert whole.execute(whole.python, "net/run.py", "--check")


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_TIMEOUT_S)
def test_board_kit(whole: Installed) -> None:
    data = json.loads(whole("board-kit", "rk3399", "-o", "kit", "--json"))
    kit = whole.work / "kit"
    assert data["bytes"] == sum(file.stat().st_size for file in kit.rglob("*") if file.is_file())
    assert "check" in (kit / "install.sh").read_text()


@pytest.mark.slow
@pytest.mark.timeout(INSTALL_TIMEOUT_S)
def test_emulate(whole: Installed) -> None:
    try:
        emulator_command(targets.load("rk3399"))
    except EnvironmentFault:
        pytest.skip(f"no emulated board was tried: apt-get install {PACKAGES}")
    tracker = Tracker()
    tracker.start()
    process = subprocess.Popen(
        [whole.script, "emulate", "rk3399", "--key", "wheel", "--tracker", tracker.address],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=whole.work, env=clean(),
    )  # fmt: skip
    try:
        until(lambda: [b for b in tracker.boards() if b["key"] == "server:wheel"], 120)
        process.send_signal(signal.SIGINT)
        out, log = process.communicate(timeout=30)
    finally:
        process.kill()
        tracker.stop()
    assert process.returncode == 0, log
    assert "stopped 1 emulated board(s)" in out
