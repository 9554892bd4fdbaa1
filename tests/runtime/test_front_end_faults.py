"""The front end in Python where something is missing, or is used up, or is not waited for."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.runtime import library, toy
from tests.runtime.test_systems import in_mounts, needs_root
from tvm_flow.runtime.bundle import load
from tvm_flow.support.errors import UsageError
from tvm_flow.toolchain.runtime_library import SHARED

MAIN = (
    "import sys; from tvm_flow.runtime.cli import main; sys.exit(main(sys.argv[1], sys.argv[2:]))"
)


def write(made: toy.Toy, folder: Path) -> Path:
    """A bundle as the front end wants it: with the library."""
    (folder / "lib").mkdir(parents=True)
    shutil.copy(library.runner().with_name(SHARED), folder / "lib")
    return toy.write(made, folder)


def main(
    folder: Path, *words: str, limit: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, folder, *words],
        capture_output=True, text=True, check=False, timeout=60, preexec_fn=limit,
    )  # fmt: skip


def test_dropped_while_it_runs(tmp_path: Path) -> None:
    """Nothing stays behind of a run that nobody waited for."""
    folder = write(toy.pause(), tmp_path / "toy")
    threads = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        bundle = load(folder)
        bundle.buffers[0][...] = 100
        bundle.start()
        del bundle
        gc.collect()
    assert f"{folder}/model.so" not in Path("/proc/self/maps").read_text()
    assert library.threads_beyond(threads) == 0


def test_names_that_are_no_text(tmp_path: Path) -> None:
    made = toy.network()
    folder = write(made, tmp_path / "toy")
    plan = bytearray((folder / "plan.bin").read_bytes())
    at = plan.index(b"toy")
    plan[at : at + 3] = b"\xff\xfe\n"
    plan[24:32] = library.checksum(bytes(plan[32:])).to_bytes(8, "little")
    (folder / "plan.bin").write_bytes(plan)
    bundle = load(folder)
    assert bundle.model == "\ufffd\ufffd\n"
    assert np.array_equal(bundle(*made.samples)[0], made.expected[0])


@needs_root
def test_without_proc(tmp_path: Path) -> None:
    folder = write(toy.network(2), tmp_path / "toy")
    script = 'mount -t tmpfs none /proc; exec "$@"'
    done = in_mounts(script, sys.executable, "-c", MAIN, folder, "--check")
    assert done.returncode == 0, done.stderr
    assert "check passed" in done.stdout


@needs_root
def test_mounted_noexec(tmp_path: Path) -> None:
    folder = write(toy.network(), tmp_path / "toy")
    script = 'mount --bind "$4" "$4"; mount -o remount,bind,noexec "$4"; exec "$@"'
    done = in_mounts(script, sys.executable, "-c", MAIN, folder)
    assert done.returncode == library.BUNDLE
    assert "copy the bundle to a file system that is not mounted noexec" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("gigabytes", [1, 2])
def test_a_limit_of_memory(tmp_path: Path, gigabytes: int) -> None:
    """For a network of 2 GB."""
    folder = write(toy.copies(((2**28,), "float32")), tmp_path / "toy")
    limit = (gigabytes * 2**30, gigabytes * 2**30)
    done = main(folder, limit=partial(resource.setrlimit, resource.RLIMIT_AS, limit))
    assert done.returncode == library.ENVIRONMENT, done.stderr
    assert done.stderr.startswith("error: not enough memory to run toy")
    assert done.stderr.count("\n") == 1


def test_inputs_stay_while_they_are_read(tmp_path: Path) -> None:
    """Of a run that was started, whatever way they would come in."""
    bundle = load(write(toy.pause(), tmp_path / "toy"))
    bundle.set_input(np.int64(50))
    bundle.start()
    other = np.int64(0)
    for write_it in (bundle, bundle.set_input, bundle.set_inputs):
        with pytest.raises(UsageError, match="wait"):
            write_it(other)
    bundle.wait()
    bundle.set_input(other)


def test_a_pinned_thread_opens_another(tmp_path: Path) -> None:
    """Which has all the cores that the thread had before."""
    folder = write(toy.network(2), tmp_path / "toy")
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two cores")
    try:
        for _ in range(2):
            bundle = load(folder, pin=True)
            assert bundle.threads == 2
            assert os.sched_getaffinity(0) == {bundle.cores[0]}
    finally:
        os.sched_setaffinity(0, before)
