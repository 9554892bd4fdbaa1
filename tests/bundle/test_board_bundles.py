"""Bundles for boards: the program on every Arm target, emulated, and their installer."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import pytest

import tvm_flow
from tests.bundle.networks import write
from tvm_flow import targets
from tvm_flow.api.compile_all import TargetResult, compile_all, target_files
from tvm_flow.boards import deploy
from tvm_flow.boards.emulate import emulator_command
from tvm_flow.support import manifest
from tvm_flow.support.errors import CompileError, TargetError, UsageError
from tvm_flow.toolchain.elf import elf_arch, needed_glibc, version_key

NET = f"{Path(__file__).parents[1] / 'cli' / 'user_models.py'}:net"
MOST_RUNTIME_BYTES = 400_000
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TargetResult]:
    made = compile_all(NET, output=tmp_path_factory.mktemp("boards"))
    return {result.target: result for result in made}


def run(*command: str | Path) -> Done:
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_target_file_gets_a_bundle(results: dict[str, TargetResult]) -> None:
    assert list(results) == target_files()
    assert [str(result.error) for result in results.values() if result.error] == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=[]
            if targets.load(name).arch == platform.machine()
            else [pytest.mark.system("emulate")],
        )
        for name in target_files()
    ],
)
def test_the_runner_agrees_with_pytorch(results: dict[str, TargetResult], name: str) -> None:
    """On the emulated CPU of each target; the expected output in the bundle is PyTorch's."""
    board, report = targets.load(name), results[name].report
    assert report is not None
    emulated = board.arch != platform.machine()
    done = run(*emulator_command(board), report.path / "runner", "--check", "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    assert float(done.stdout.split()[3]) <= 1e-4
    assert ("EMULATED" in done.stdout) == emulated, "a time without its label"


@pytest.mark.parametrize("name", target_files())
def test_a_bundle_loads_on_the_oldest_system(results: dict[str, TargetResult], name: str) -> None:
    board, report = targets.load(name), results[name].report
    assert report is not None
    for file in ("model.so", "runner", "lib/libtvm_flow.so"):
        assert elf_arch(report.path / file) == board.arch
        needed = needed_glibc(report.path / file) or "2.0"
        assert version_key(needed) <= version_key(board.glibc_floor), file
    assert 0 < report.runtime_bytes < MOST_RUNTIME_BYTES
    assert report.total_bytes > report.runtime_bytes + report.library_bytes


def test_everything_is_in_the_manifest(results: dict[str, TargetResult]) -> None:
    report = results["rk3399"].report
    assert report is not None
    info = manifest.read(report.path)
    manifest.verify_files(report.path, info)
    assert {"runner", "install.sh", "lib/libtvm_flow.so", "include/tvm_flow.h"} <= set(info.files)
    assert any("./install.sh there" in note for note in report.notes)
    assert "./install.sh" in (report.path / "README.md").read_text()


def test_the_installer_checks_and_copies(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle")
    for _ in range(2):
        done = run(bundle / "install.sh", "--prefix", tmp_path / "opt" / "net")
        assert done.returncode == 0, done.stderr
        assert "check passed" in done.stdout
    assert run(tmp_path / "opt" / "net" / "runner", "--check").returncode == 0
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["net"]
    (tmp_path / "photos").mkdir()
    refused = run(bundle / "install.sh", "--prefix", tmp_path / "photos")
    assert refused.returncode == 2
    assert "is not a bundle" in refused.stderr


def test_the_installer_refuses_another_machine(results: dict[str, TargetResult]) -> None:
    other = "rk3399" if platform.machine() != "aarch64" else None
    if other is None:
        pytest.skip("every target file is for this architecture")
    report = results[other].report
    assert report is not None
    done = run(report.path / "install.sh")
    assert done.returncode == 1
    assert "this is for aarch64" in done.stderr


def test_one_failure_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "rk3399").mkdir()
    (tmp_path / "rk3399" / "photo.jpg").write_text("precious")
    failed, made = compile_all(NET, output=tmp_path, targets=["rk3399", "jetson-nano"])
    assert isinstance(failed.error, UsageError)
    assert failed.report is None
    assert made.report is not None
    assert json.dumps([failed.to_json(), made.to_json()])
    assert (tmp_path / "rk3399" / "photo.jpg").read_text() == "precious"


def test_targets_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        compile_all(NET, output=tmp_path, targets=["rk3399", "nothing"])
    with pytest.raises(UsageError):
        compile_all(NET, output=tmp_path, targets=["rk3399", "rk3399"])
    assert not list(tmp_path.iterdir())


def test_without_a_runner(tmp_path: Path) -> None:
    report = tvm_flow.compile(NET, output=tmp_path / "b", target="rk3399", runner=False)
    assert not (report.path / "runner").exists()
    assert not (report.path / "install.sh").exists()
    assert any("run.py --check there" in note for note in report.notes)


def test_a_library_for_a_newer_system_is_an_error(
    results: dict[str, TargetResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = results["rk3399"].report
    assert report is not None
    monkeypatch.setattr(deploy, "needed_glibc", lambda _: "2.36")
    with pytest.raises(CompileError, match=r"needs glibc 2\.36, 2\.28 is there"):
        deploy.require_libc(report.path / "model.so", "rk3399", "2.28")
