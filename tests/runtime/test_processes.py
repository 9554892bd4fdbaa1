"""Instances in processes that fork, end, are interrupted, and have several threads.

The scenes are played by a program in C, ``c/processes.c``, which ends as programs end: with the
destructors of its libraries, in children as well.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.runtime import library, toy
from tests.runtime.sanitized import ENVIRONMENT, sanitized
from tvm_flow.toolchain.c_compiler import link_program
from tvm_flow.toolchain.runtime_library import STATIC, runtime_library, sources

SOURCE = Path(__file__).parent / "c" / "processes.c"
FORKS = ["before", "after", "while-running", "threads-of-a-child", "daemonise"]
THREADS = ["interrupted", "waiting", "beside"]
ARCH = platform.machine()

two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("processes")
    toys = {"one": toy.network(1), "two": toy.network(2), "pause": toy.pause()}
    return [toy.write(made, folder / name) for name, made in toys.items()]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("program") / "processes"
    archive = runtime_library(ARCH, library.GLIBC) / STATIC
    flags = [f"-I{sources()}"]
    return link_program([SOURCE, archive], made, arch=ARCH, libc=library.GLIBC, flags=flags)


def play(program: Path, scene: str, bundles: list[Path]) -> None:
    done = subprocess.run(
        [program, scene, *bundles], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr == ""


@two_cores
@pytest.mark.parametrize("scene", [*FORKS, *THREADS])
def test_scenes(program: Path, bundles: list[Path], scene: str) -> None:
    play(program, scene, bundles)


@two_cores
@pytest.mark.slow
@pytest.mark.parametrize("scene", THREADS)
def test_scenes_without_races(bundles: list[Path], scene: str) -> None:
    """Under the thread sanitizer, which does not follow forks."""
    play(sanitized("processes", [SOURCE], "thread"), scene, bundles)


@two_cores
@pytest.mark.slow
@pytest.mark.parametrize("scene", ["before", *THREADS])
def test_scenes_in_valid_memory(bundles: list[Path], scene: str) -> None:
    """Nothing is lost in any process, nor used after it was given back. Processes fork without
    threads only: a child of one with threads may wait for a lock of gcc 12's sanitizer."""
    play(sanitized("processes", [SOURCE], "address,undefined"), scene, bundles)


def _result(bundle: Path) -> list[float]:
    """In a process of a pool: of an instance that the parent has, where there is one."""
    net = _kept or library.Model.load(bundle).open()
    net.fill(*toy.network().samples)
    return list(net.run()[0].ravel())


_kept: library.Instance | None = None


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_processes(
    bundles: list[Path], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = library.Model.load(bundles[1])
    net = model.open()
    net.fill(*toy.network().samples)
    want = list(net.run()[0].ravel())
    monkeypatch.setattr(f"{__name__}._kept", net)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(_result, bundles[:2] * 3).get(60) == [want] * 6
    assert list(net.run()[0].ravel()) == want
    net.close()
    model.unload()


def interrupted_while(net: library.Instance) -> None:
    for _ in range(50):
        net.run()


def test_ctrl_c_in_a_run(bundles: list[Path]) -> None:
    """It comes when the run has ended, and the instance can be used again."""
    with library.open_bundle(bundles[2]) as net:
        net.fill(np.array(200))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        subprocess.Popen(["sh", "-c", f"sleep 0.1; kill -INT {os.getpid()}"])
        try:
            with pytest.raises(KeyboardInterrupt):
                interrupted_while(net)
        finally:
            signal.signal(signal.SIGINT, before)
        net.fill(np.array(1))
        assert net.run()[0] == 1
