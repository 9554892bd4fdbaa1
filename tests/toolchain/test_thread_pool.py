"""The thread pool in kernels that TVM loads: results, sharing, and going away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tests.bundle.networks import in_threads
from tvm_flow import targets
from tvm_flow.measure.kernel_pool import use_threads
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.thread_pool import thread_pool_objects

SIZE, ROWS = 64, 37  # rows are no multiple of tasks
BOARD = targets.load("native")
two_cores = pytest.mark.skipif(len(BOARD.cores) < 2, reason="needs two cores")


def _library(folder: Path) -> Path:
    """y[row] = x[row] + row, row by row in parallel."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("add_row")
        x = T.arg("x", T.Buffer((ROWS, SIZE), "float32"))
        y = T.arg("y", T.Buffer((ROWS, SIZE), "float32"))
        with T.parallel(0, ROWS) as row, T.serial(0, SIZE) as column:
            T.buffer_store(y, x[row, column] + T.Cast("float32", row), [row, column])
    function = builder.get().with_attr("global_symbol", "add_row")
    built = tvm.compile(
        tvm.IRModule({"add_row": function}), target=tvm.target.Target(BOARD.tvm_target())
    )
    path = folder / "rows.so"
    built.export_library(
        str(path),
        fcompile=find_linker(BOARD.arch),
        addons=thread_pool_objects(BOARD.arch, BOARD.glibc_floor, 2),
    )
    return path


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _library(tmp_path_factory.mktemp("pool"))


def _run(module: object, times: int) -> None:
    x = np.random.default_rng(0).standard_normal((ROWS, SIZE), np.float32)
    want: NDArray[np.float32] = x + np.arange(ROWS, dtype=np.float32)[:, None]
    given = tvm.runtime.tensor(x)
    for _ in range(times):
        out = tvm.runtime.tensor(np.full_like(x, np.nan))
        module["add_row"](given, out)  # type: ignore[index]
        np.testing.assert_array_equal(out.numpy(), want)


def _load(library: Path, threads: int) -> object:
    module = tvm.runtime.load_module(str(library))
    assert module.implements_function("tvm_flow_pool", query_imports=True)
    use_threads(module, threads, list(BOARD.cores))
    return module


@two_cores
def test_every_row_is_computed_once_with_any_number_of_threads(library: Path) -> None:
    for threads in (2, 1, 2):
        _run(_load(library, threads), 200)


@two_cores
def test_a_library_can_go_while_its_threads_sleep(library: Path) -> None:
    for _ in range(30):
        _run(_load(library, 2), 1)
    assert len(os.listdir("/proc/self/task")) < 60  # the threads went with their libraries


@two_cores
def test_callers_that_find_the_pool_taken_work_alone(library: Path) -> None:
    module = _load(library, 2)
    in_threads(3, lambda: _run(module, 300))


@two_cores
def test_a_busy_core_does_not_hold_the_others_up(library: Path) -> None:
    """300 loops: with a fixed share per thread each waits for a time slice of the busy core, more
    than a second in all; here only a few do, until that thread is left out. The bound is far from
    both: this is about hanging, not about speed."""
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(2)]
    try:
        module = _load(library, 2)
        absences = module["tvm_flow_pool_absences"]  # type: ignore[index]
        before = absences()
        for process in busy:
            os.sched_setaffinity(process.pid, {BOARD.cores[1]})
        _run(module, 300)
        for _ in range(200):  # until they are awake
            _run(module, 50)
            if absences() - before >= 100:
                break
        else:
            pytest.fail("nobody can tell that a thread had no part")
    finally:
        for process in busy:
            process.kill()
            process.wait()


@two_cores
def test_a_worker_makes_way_for_the_caller(library: Path) -> None:
    """On one core with its worker the caller would do all the work."""
    before = os.sched_getaffinity(0)
    known = set(os.listdir("/proc/self/task"))
    module = _load(library, 2)
    (worker,) = (int(task) for task in set(os.listdir("/proc/self/task")) - known)
    try:
        for core in (BOARD.cores[1], BOARD.cores[0], BOARD.cores[1]):
            os.sched_setaffinity(0, {core})
            _run(module, 3)
            (free,) = os.sched_getaffinity(worker)
            assert free == BOARD.cores[0] + BOARD.cores[1] - core
    finally:
        os.sched_setaffinity(0, before)


def test_more_threads_than_the_system_gives_are_refused(library: Path) -> None:
    module = tvm.runtime.load_module(str(library))
    pool = module.get_function("tvm_flow_pool", query_imports=True)
    assert pool(0) == -1
    assert pool(65, *range(65)) == -1
    assert pool(2, 0) == -1  # one core missing


def test_one_thread_needs_no_pool() -> None:
    assert thread_pool_objects(BOARD.arch, BOARD.glibc_floor, 1) == []
