"""Systems that give less than usual: no /proc, no memory, no threads, another CPU.

Most is seen through the program ``runner``, which is one user of the library. What only root can
set up is skipped elsewhere.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.runtime import library, toy
from tvm_flow.boards.emulate import SYSROOT

ROOT, NOBODY = os.geteuid() == 0, 65534
CORES = sorted(os.sched_getaffinity(0))
ARCH = platform.machine()
SHARED_WEIGHTS = 1

needs_root = pytest.mark.skipif(not ROOT, reason="only root can mount and limit what this needs")
two_cores = pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(toy.network(2), tmp_path_factory.mktemp("systems") / "network")


def run(
    bundle: Path,
    *words: str,
    limit: Callable[[], object] | None = None,
    program: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    command = [program or library.runner(), "--bundle", bundle, "--check", "--runs", "0", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, preexec_fn=limit
    )


def in_mounts(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A shell's ``script`` with ``arguments``, among mounts of its own, which end with it."""
    return subprocess.run(
        ["unshare", "-m", "sh", "-ec", script, "sh", *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


# ---- File systems


@needs_root
def test_without_proc(bundle: Path) -> None:
    """And what needs it says so: code that is only in memory has no other name."""
    script = 'mount -t tmpfs none /proc; "$1" --bundle "$2" --check --runs 0'
    done = in_mounts(script, library.runner(), bundle)
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout
    load = (
        "import sys; from tests.runtime import library, toy; made = toy.network(2);"
        "code = open(sys.argv[1] + '/model.so', 'rb').read();"
        "library.Model.from_memory(toy.plan_of(made, code), made.weights, code)"
    )
    library.library()  # built, as that is of this test's folders
    script = 'mount -t tmpfs none /proc; exec "$1" -c "$2" "$3"'
    done = in_mounts(script, sys.executable, load, bundle)
    assert "there is no /proc. Fix: mount it, or load the bundle from a directory" in done.stderr


@needs_root
def test_without_sys(bundle: Path) -> None:
    done = in_mounts(
        'mount -t tmpfs none /sys; "$1" --bundle "$2" --check --runs 0', library.runner(), bundle
    )
    assert done.returncode == 0, done.stderr


@needs_root
@pytest.mark.parametrize("option", ["noexec", "ro"])
def test_mounted_noexec_and_read_only(bundle: Path, tmp_path: Path, option: str) -> None:
    script = (
        'mount -t tmpfs none "$3"; cp -r "$2" "$3"; mount -o remount,"$4" "$3";'
        '"$1" --bundle "$3/network" --check --runs 0'
    )
    done = in_mounts(script, library.runner(), bundle, tmp_path, option)
    if option == "noexec":
        sentence = "its file system is mounted noexec"
        refused(done, library.ENVIRONMENT, sentence, "copy the bundle to another place")
    else:
        assert done.returncode == 0, done.stderr


@needs_root
def test_a_folder_that_may_not_be_looked_into(bundle: Path) -> None:
    """The cause is not that there is no bundle."""
    with for_nobody(bundle) as copy:
        copy.parent.chmod(0o700)
        copy.chmod(0o700)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(copy)], capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        )  # fmt: skip
        assert "Permission denied" in done.stdout, done.stderr
        assert "is not a bundle" not in done.stdout


AS_NOBODY = """
import os, sys
from pathlib import Path
from tests.runtime import library
library.library()
os.setuid(65534)
try:
    library.Model.load(Path(sys.argv[1]))
except library.Refused as error:
    print(error)
"""


# ---- Limits


def test_a_limit_of_memory(tmp_path: Path) -> None:
    bundle = toy.write(toy.copies(((2**26,), "float32")), tmp_path / "large")
    for limit in (2**27, 2**28):  # for the input; for the output as well
        done = run(bundle, limit=partial(resource.setrlimit, resource.RLIMIT_AS, (limit, limit)))
        refused(done, library.ENVIRONMENT, "not enough memory to run toy", "ulimit -v")
    weights = np.ones(2**24, np.float32).tobytes()
    made = toy.copies(((4,), "float32"), weights=weights)
    heavy = replace(made, plan=replace(made.plan, weights=len(weights)))
    bundle = toy.write(heavy, tmp_path / "heavy")
    done = run(bundle, limit=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**25, 2**25)))
    refused(done, library.ENVIRONMENT, "weights.bin")


@contextmanager
def for_nobody(bundle: Path) -> Iterator[Path]:
    """A copy of a bundle and of the runner, where other users may see it."""
    with tempfile.TemporaryDirectory(prefix="tvm-flow-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        copy = Path(shutil.copytree(bundle, Path(folder) / "bundle"))
        shutil.copy(library.runner(), copy)
        yield copy


@two_cores
def test_no_more_threads(bundle: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
        if ROOT:  # whom the limit does not hold for
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    with for_nobody(bundle) as copy:
        program = copy / "runner"
        done = run(copy, "--threads", "2", limit=limit, program=program)
        refused(done, library.ENVIRONMENT, "the system gives no 2 threads", "ulimit -u")
        done = run(copy, "--threads", "1", limit=limit, program=program)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "limit",
    [
        (resource.RLIMIT_STACK, 2**17),
        (resource.RLIMIT_NOFILE, 8),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_CORE, 0),
    ],
    ids=["stack", "files", "locked", "core"],
)
def test_other_limits_do_not_matter(bundle: Path, limit: tuple[int, int]) -> None:
    done = run(bundle, limit=lambda: resource.setrlimit(limit[0], (limit[1], limit[1])))
    assert done.returncode == 0, done.stderr


# ---- Memory of several processes


def weights_in(pid: int | str, folder: Path) -> dict[str, int]:
    """What /proc says of the mapping of a bundle's weights, in KiB; empty without one."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    _, found, rest = text.partition(f"{folder}/weights.bin\n")
    lines = [line.split() for line in rest.splitlines()[:20]] if found else []
    return {words[0]: int(words[1]) for words in lines if len(words) == 3}


def test_shared_weights_are_there_once(tmp_path: Path) -> None:
    made = toy.network()
    weights = made.weights + bytes(2**20)
    heavy = replace(made, weights=weights, plan=replace(made.plan, weights=len(weights)))
    folder = toy.write(heavy, tmp_path / "toy")
    own = library.Model.load(folder)
    assert weights_in("self", folder) == {}
    model = library.Model.load(folder, SHARED_WEIGHTS)
    hold = (
        "import sys; from pathlib import Path; from tests.runtime import library;"
        f"library.Model.load(Path(sys.argv[1]), {SHARED_WEIGHTS});"
        "print('ready', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"ready\n"
    for pid in ("self", other.pid):
        found = weights_in(pid, folder)
        assert found["Rss:"] >= 1024
        assert found["Pss:"] < 0.6 * found["Rss:"]
        assert found["Private_Clean:"] + found["Private_Dirty:"] == 0
    other.communicate()
    net = model.open()
    net.fill(*made.samples)
    assert np.array_equal(net.run()[0], made.expected[0])
    net.close()
    model.unload()
    own.unload()


# ---- CPUs


def emulated(arch: str, cpu: str, bundle: Path) -> subprocess.CompletedProcess[str]:
    command = [f"qemu-{arch}", "-cpu", cpu]
    command += ["-L", str(SYSROOT)] if arch == "aarch64" != ARCH else []
    words = [*command, library.runner(arch), "--bundle", bundle, "--runs", "0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    own = (line for line in done.stderr.splitlines(True) if not line.startswith("qemu-"))
    done.stderr = "".join(own)
    return done


@pytest.mark.system("emulate")
@pytest.mark.parametrize(
    ("arch", "cpu", "feature", "lacks"),
    [
        ("x86_64", "Nehalem", "sse4.2", False),
        ("x86_64", "Nehalem", "avx", True),
        ("x86_64", "Haswell", "avx2", False),
        ("x86_64", "Haswell", "avx512f", True),
        ("x86_64", "max", "no-such-thing", True),
        ("aarch64", "cortex-a53", "neon", False),
        ("aarch64", "cortex-a53", "dotprod", True),
        ("aarch64", "cortex-a53", "fullfp16", True),
        ("aarch64", "cortex-a76", "dotprod", False),
        ("aarch64", "max", "sve", False),
    ],
)
def test_instructions_that_a_cpu_lacks(
    tmp_path: Path, arch: str, cpu: str, feature: str, lacks: bool
) -> None:
    """A sentence, and not a signal."""
    if shutil.which(f"qemu-{arch}") is None:
        pytest.skip(f"needs qemu-{arch}, of the package qemu-user")
    x = np.arange(4, dtype=np.float32)
    made = toy.copies(((4,), "float32"), arch=arch, features=(feature,), samples=(x,))
    done = emulated(arch, cpu, toy.write(made, tmp_path / "toy"))
    if lacks:
        refused(done, library.BUNDLE, f"this CPU lacks {feature}", "Fix: compile it")
    else:
        assert done.returncode == 0, done.stderr


def test_code_of_another_architecture(tmp_path: Path) -> None:
    other = "aarch64" if ARCH == "x86_64" else "x86_64"
    bundle = toy.write(toy.copies(((4,), "float32"), arch=other), tmp_path / "toy")
    refused(run(bundle), library.BUNDLE, "cannot run here", f"this machine is {ARCH}")
