"""Threads follow the cores, and the part of them, that a process may use."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.runtime import library, toy
from tests.runtime.test_systems import CORES, refused, run, two_cores
from tvm_flow.toolchain.c_compiler import link_program
from tvm_flow.toolchain.runtime_library import STATIC, runtime_library, sources

ARCH = platform.machine()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(toy.network(2), tmp_path_factory.mktemp("quotas") / "network")


def threads(done: subprocess.CompletedProcess[str]) -> int:
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["threads"])


@two_cores
def test_one_allowed_core(bundle: Path) -> None:
    def limit() -> None:
        os.sched_setaffinity(0, {CORES[-1]})

    assert threads(run(bundle, "--json", limit=limit)) == 1
    assert threads(run(bundle, "--json")) == 2
    refused(run(bundle, "--threads", "2", limit=limit), library.USAGE, "there are 1 core(s)")


@pytest.fixture(scope="module")
def quota_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("quota") / "quota"
    archive = runtime_library(ARCH, library.GLIBC) / STATIC
    source = Path(__file__).parent / "c" / "quota.c"
    flags = [f"-I{sources()}"]
    return link_program([source, archive], made, arch=ARCH, libc=library.GLIBC, flags=flags)


V1 = "4:cpuset:/set\n3:cpuacct:/acct\n2:cpu:/app\n1:name=systemd:/\n0::/\n"
V1_TOGETHER = "12:cpuset:/docker/ab\n4:cpu,cpuacct:/docker/ab\n"
V2 = "0::/system.slice/app.service\n"
NONE = 2**31 - 1


def v1(quota: int, period: int = 100000, folder: str = "") -> dict[str, str]:
    cpu = f"sys/fs/cgroup/cpu{folder}/cpu.cfs_"
    return {f"{cpu}quota_us": f"{quota}\n", f"{cpu}period_us": f"{period}\n"}


def v2(quota: str, folder: str = "") -> dict[str, str]:
    return {f"sys/fs/cgroup{folder}/cpu.max": f"{quota}\n"}


@pytest.mark.parametrize(
    ("group", "files", "allowed"),
    [
        (None, {}, NONE),
        ("", {}, NONE),
        ("nonsense\n:\n::\n1:\n", v2("100000 100000"), NONE),
        (V2, {}, NONE),
        (V2, v2("max 100000", "/system.slice/app.service"), NONE),
        (V2, v2("100000 100000", "/system.slice/app.service"), 1),
        (V2, v2("150000 100000", "/system.slice/app.service"), 2),
        (V2, v2("1000 100000", "/system.slice/app.service"), 1),
        (V2, v2("300000 100000", "/system.slice"), 3),
        (V2, v2("400000 100000", "/system.slice/app.service") | v2("200000 100000"), 2),
        (V2, v2("17592186044415 1000"), NONE),
        (V2, v2("-5 100000"), NONE),
        (V2, v2("100000 0"), NONE),
        (V2, v2("x"), NONE),
        ("0::/\n", v2("200000 100000"), 2),
        (f"0::/{'long/' * 700}x\n", v2("200000 100000"), 2),
        (V1, v1(-1, folder="/app"), NONE),
        (V1, v1(200000, folder="/app"), 2),
        (V1, v1(100000, folder="/set") | v1(100000, folder="/acct"), NONE),
        (V1, v1(300000, folder="/app") | v1(100000), 1),
        (V1_TOGETHER, v1(50000), 1),  # in a container: its own group is the root it sees
        (V1 + V2, v1(400000, folder="/app") | v2("200000 100000"), 2),
    ],
)
def test_quotas(
    quota_program: Path, tmp_path: Path, group: str | None, files: dict[str, str], allowed: int
) -> None:
    """Of groups above as well, in either version, or both."""
    if group is not None:
        files = {"proc/self/cgroup": group, **files}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    done = subprocess.run([quota_program, tmp_path], capture_output=True, check=True)
    assert int(done.stdout) == allowed


@pytest.fixture
def cpu_group() -> Iterator[Path]:
    """A control group of this test's own, with one CPU."""
    first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    old = (first / "cpu.cfs_quota_us").exists() or (first / "tasks").exists()
    group = (first if old else second) / f"tvm-flow-test-{os.getpid()}"
    try:
        group.mkdir()
        if old:
            (group / "cpu.cfs_quota_us").write_text("100000")
        else:
            (group / "cpu.max").write_text("100000 100000")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"cannot make a control group with a quota: {error}")
    yield group
    group.rmdir()


@two_cores
def test_threads_follow_the_quota(bundle: Path, cpu_group: Path) -> None:
    def limit() -> None:
        (cpu_group / "cgroup.procs").write_text(str(os.getpid()))

    assert threads(run(bundle, "--json", limit=limit)) == 1
    assert threads(run(bundle, "--json", "--threads", "2", limit=limit)) == 2  # as asked for
