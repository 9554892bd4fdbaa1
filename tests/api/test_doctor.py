"""The doctor here, and on faults put into the installation: each is found and has a fix."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tvm_flow.api import doctor, requirements
from tvm_flow.api.doctor import Check
from tvm_flow.support.resources import checkout
from tvm_flow.toolchain import linker

CRASH = "import ctypes; ctypes.string_at(0)"


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def assert_failed(check: Check, *parts: str) -> None:
    assert not check.ok
    assert check.fix
    for part in parts:
        assert part in f"{check.detail} | {check.fix}"
    assert "\n" not in check.detail + check.fix


def test_healthy_installation(tmp_path: Path) -> None:
    """On the pinned environment only warnings (load, governor) may remain."""
    checks = by_name(doctor.diagnose(tmp_path / "tuning_logs"))
    assert [c for c in checks.values() if not c.ok and not c.warning] == []
    assert {
        "python", "apache-tvm", "apache-tvm-ffi", "torch", "tvm abi", "llvm x86_64", "llvm aarch64",
        "linker x86_64", "linker aarch64", "c++ compiler", "cores", "governor", "load",
        "committed records", "tuning_logs",
    } <= set(checks)  # fmt: skip
    assert all(check.fix for check in checks.values() if not check.ok)
    assert not list(tmp_path.iterdir()), "the doctor leaves nothing behind"


def test_doctor_imports_without_tvm_and_torch() -> None:
    code = "import sys; sys.modules.update(tvm=None, torch=None); import tvm_flow.api.doctor"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=checkout())


def test_wrong_python(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.python_version().ok
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 98), (3, 99)))
    old = doctor.python_version()
    assert_failed(old, "wanted 3.98 to 3.99", "make venv PYTHON=python3.99")
    assert not old.warning
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 7), (3, 8)))
    assert_failed(doctor.python_version(), "wanted 3.7 to 3.8", "make venv PYTHON=python3.8")
    assert doctor.python_version().warning, "nobody has tried a newer one; it may well work"
    monkeypatch.setattr(doctor, "checkout", lambda: None)
    assert_failed(doctor.python_version(), "install tvm-flow into an environment of Python 3.7")


def test_wrong_and_missing_version(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def fake(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError(name)
        return "0.1.15.post1" if name == "apache-tvm-ffi" else real(name)

    monkeypatch.setattr(metadata, "version", fake)
    checks = by_name(doctor.packages())
    assert_failed(checks["apache-tvm-ffi"], "0.1.15.post1, wanted 0.1.14.post1")
    assert_failed(checks["apache-tvm-ffi"], "-m pip install --force-reinstall --no-deps")
    assert checks["apache-tvm-ffi"].fix.endswith(" apache-tvm-ffi==0.1.14.post1")
    assert_failed(checks["torch"], "not installed, wanted")
    assert checks["apache-tvm"].ok


def test_local_version_suffix_is_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=2.5,<2.14", "numpy==2.4.6"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    found = {"torch": "2.13.0+cpu", "numpy": "2.4.6+local"}
    monkeypatch.setattr(metadata, "version", found.__getitem__)
    assert [check.ok for check in doctor.packages()] == [True, True]
    found["torch"] = "2.14.0+cpu"
    assert_failed(doctor.packages()[0], "2.14.0+cpu, wanted >=2.5,<2.14")


def _not_found(name: str) -> list[str]:
    raise metadata.PackageNotFoundError(name)


def test_requirements_are_those_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a checkout: what its pyproject.toml says now is not what pip resolved."""
    wanted = ["numpy==2.4.6", "ruff==0.17.6; extra == 'dev'", "loose>=1"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted if name == "tvm-flow" else None)
    found = {name: str(accepted) for name, accepted in requirements.requirements().items()}
    assert found == {"numpy": "==2.4.6", "loose": ">=1"}
    monkeypatch.undo()
    monkeypatch.setattr(metadata, "requires", _not_found)
    assert requirements.requirements() == {}


def test_fixes_of_a_checkout_are_its_locked_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["apache-tvm==0.27.0.post1", "torch>=2.5"])
    version = ".".join(map(str, sys.version_info[:2]))
    lock = tmp_path / "requirements" / f"lock-{version}.txt"
    lock.parent.mkdir()
    lock.write_text("# made by hand\napache-tvm==0.1\ntorch==2.13.0\n")
    monkeypatch.setattr(requirements, "checkout", lambda: tmp_path)
    command = requirements.install_command("apache-tvm", "torch", "other")
    assert command.endswith(" apache-tvm==0.27.0.post1 torch==2.13.0 other")
    monkeypatch.setattr(requirements, "checkout", lambda: None)
    command = requirements.install_command("torch")
    assert command == f"{sys.executable} -m pip install --force-reinstall --no-deps 'torch>=2.5'"


def test_missing_packaging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    (check,) = doctor.packages()
    assert_failed(check, "not installed", "pip install")
    assert " packaging" in check.fix


def test_committed_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor.committed_records().ok
    monkeypatch.setattr(doctor, "package_file", lambda _: tmp_path)
    assert_failed(doctor.committed_records(), f"0 boards in {tmp_path}", "install tvm-flow again")


def test_segfault_becomes_a_sentence() -> None:
    assert doctor.run_isolated(CRASH) == (False, "crashed with SIGSEGV")


def test_exception_and_hang_become_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.run_isolated("raise OSError('no library')") == (
        False, "failed: OSError: no library",
    )  # fmt: skip
    assert doctor.run_isolated("print(6 * 7)") == (True, "42")
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT_S", 0.2)
    assert doctor.run_isolated("import time; time.sleep(9)") == (
        False, "did not answer within 0.2 s",
    )  # fmt: skip


def crashing_tvm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package ``tvm`` that segfaults on import, before the real one in every new process."""
    (folder / "tvm").mkdir()
    (folder / "tvm" / "__init__.py").write_text(CRASH)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_crashing_tvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing_tvm(tmp_path, monkeypatch)
    assert_failed(
        doctor.abi(), "TVM does not work: it crashed with SIGSEGV",
        "--force-reinstall --no-deps apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1",
    )  # fmt: skip
    checks = by_name(doctor.code_generation())
    assert_failed(checks["llvm aarch64"], "TVM's LLVM crashed with SIGSEGV")
    assert_failed(checks["linker aarch64"], "not tried", "see llvm aarch64")


def test_missing_llvm_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ARCHITECTURES", ("vax",))
    assert_failed(by_name(doctor.code_generation())["llvm vax"], "has no backend for vax")


def test_no_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(linker, "has_zig", lambda: False)
    monkeypatch.setattr(doctor, "has_zig", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_failed(doctor.linker("aarch64", tmp_path), "No linker for aarch64", linker.ZIG_PIN)
    assert_failed(doctor.cpp_compiler(), "ziglang is not installed", linker.ZIG_PIN)


def test_linker_that_fails(tmp_path: Path) -> None:
    broken = tmp_path / "x86_64.o"
    broken.write_text("no object")
    assert_failed(doctor.linker("x86_64", broken), "Linking x86_64.so failed: ld.lld: error:")


def test_compiler_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "zig", lambda: "/no/such/zig")
    assert_failed(doctor.cpp_compiler(), "zig could not be started: No such file")


def test_narrow_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    total = (os.cpu_count() or 1) + 1
    monkeypatch.setattr(os, "cpu_count", lambda: total)
    check = doctor.cores()
    assert_failed(check, f"of {total} CPUs usable", "taskset")
    assert check.warning


def test_impossible_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_FLOW_NATIVE", "fast")
    assert_failed(doctor.cores(), "TVM_FLOW_NATIVE=fast is impossible", "unset TVM_FLOW_NATIVE")


@pytest.mark.parametrize(
    ("governors", "ok"),
    [([], True), (["performance"] * 2, True), (["powersave", "performance"], False)],
)
def test_governor(tmp_path: Path, governors: list[str], ok: bool) -> None:
    for cpu, name in enumerate(governors):
        path = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"
        path.parent.mkdir(parents=True)
        path.write_text(name + "\n")
    check = doctor.governor(tmp_path)
    assert check.ok is ok
    if not ok:
        assert_failed(check, "powersave", "cpupower frequency-set -g performance")


def test_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0.0, 0.0))
    assert_failed(doctor.load_average(), "1.7 cores busy")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 9.0, 9.0))
    assert doctor.load_average().ok


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """/proc refuses everyone; a read-only directory refuses everyone but root."""
    assert_failed(doctor.tuning_folder(Path("/proc/tuning_logs")), "cannot write to /proc")
    (tmp_path / "file").write_text("")
    assert_failed(doctor.tuning_folder(tmp_path / "file" / "logs"), "Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    assert_failed(doctor.tuning_folder(tmp_path), "Permission denied", "chmod u+w")


def test_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_GIB", 1e9)
    assert_failed(doctor.tuning_folder(tmp_path), "GiB free", "another folder")
