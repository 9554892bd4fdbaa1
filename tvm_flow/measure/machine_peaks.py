"""This machine's peaks, measured once and kept: what predictions of a network's time go by.

Single figures are the best of many short runs: other load only ever makes a run slower. What is
kept belongs to one kind of core and one version of the compiler; other peaks are measured anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tvm

from tvm_flow.measure import roofline
from tvm_flow.measure.kernel_pool import use_threads
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.support.cache import cached_folder
from tvm_flow.support.errors import UsageError
from tvm_flow.support.user_folders import cache_root
from tvm_flow.targets import Board
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.thread_pool import thread_pool_objects

_FILE = "peaks.json"
_SCHEMA = 2  # of that file
_SECONDS = 0.25  # per figure
#: So many that each is shorter than a time slice: some are then not interrupted.
_REPEATS = 250
#: Beyond the last cache: a footprint this many times as large.
_BEYOND = 4


@dataclass(frozen=True)
class MachinePeaks:
    """Of one core: ``gflops`` (1 FMA = 2 FLOPs); ``bandwidth``: pairs of a footprint in bytes,
    rising, and the GB/s of a triad over arrays that take it together; ``launch_s``: seconds of a
    call of a kernel that does nothing, ``fork_s`` of one that two threads share, 0 on one core;
    ``taken``: when, by the clock of the machine."""

    gflops: float
    bandwidth: tuple[tuple[int, float], ...]
    launch_s: float
    fork_s: float
    taken: str


def machine_peaks(board: Board, *, again: bool = False) -> MachinePeaks:
    """The peaks of ``board``, which must be this machine: from the cache, or measured, which takes
    a few seconds and 400 MB. ``again``: measure in any case.

    Raises :class:`UsageError` for another board, :class:`EnvironmentFault` as the cache does.
    """
    if not board.is_native:
        raise UsageError(f"The peaks of {board.name} cannot be measured here", fix="run it there")
    name = f"peaks-{_key(board)}"
    if again:
        shutil.rmtree(cache_root() / name, ignore_errors=True)
    folder = cached_folder(name, lambda fresh: _write(fresh, board))
    data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    data["bandwidth"] = tuple((int(size), float(rate)) for size, rate in data["bandwidth"])
    return MachinePeaks(**data)


def _key(board: Board) -> str:
    known = [_SCHEMA, board.soc, board.mcpu, board.lanes, board.l2_bytes, board.l3_kib]
    text = repr([*known, metadata.version("apache-tvm")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(folder: Path, board: Board) -> None:
    peaks = MachinePeaks(
        gflops=roofline.peak_gflops(board, 2 * _SECONDS),
        bandwidth=tuple((size, _triad_gbps(board, size)) for size in footprints(board)),
        launch_s=_launch_s(board),
        fork_s=_fork_s(board, folder) if len(board.cores) > 1 else 0.0,
        taken=time.strftime("%Y-%m-%d %H:%M"),
    )
    (folder / _FILE).write_text(json.dumps(asdict(peaks)), encoding="utf-8")


def footprints(board: Board) -> tuple[int, ...]:
    """Bytes to measure bandwidth at: within each cache, and beyond the last."""
    last = max(board.l2_bytes, 1024 * board.l3_kib)
    sizes = {board.l1_bytes // 2, board.l2_bytes // 2, _BEYOND * last}
    if board.l3_kib:
        sizes |= {last // 8, last // 2}
    return tuple(sorted(sizes))


def _triad_gbps(board: Board, footprint: int) -> float:
    """As :func:`roofline.stream_gbps` counts, but repeated by TVM's own clock: small arrays take
    less time than a call from Python."""
    count = max(1, footprint // (3 * FLOAT32.bytes) // board.lanes) * board.lanes
    arrays = [tvm.runtime.tensor(np.full(count, value, FLOAT32)) for value in (1, 2, 0)]
    best = _best_s(roofline.triad_kernel(board.lanes, count), "triad", board, *arrays)
    return 3e-9 * FLOAT32.bytes * count / best


def _launch_s(board: Board) -> float:
    """A triad over one vector: nothing but the call."""
    arrays = [tvm.runtime.tensor(np.zeros(board.lanes, FLOAT32)) for _ in range(3)]
    return _best_s(roofline.triad_kernel(board.lanes, board.lanes), "triad", board, *arrays)


def _fork_s(board: Board, folder: Path) -> float:
    """The same shared by two threads of the pool that kernels have: waking and waiting."""
    func, threads = roofline.triad_kernel(board.lanes, 2 * board.lanes, parallel=True), 2
    library = folder / "fork.so"
    built = compile_kernel(func, board.tvm_target())
    pool = thread_pool_objects(board.arch, board.glibc_floor, threads)
    built.export_library(str(library), fcompile=find_linker(board.arch).fcompile, addons=pool)
    module = tvm.runtime.load_module(str(library))
    library.unlink()
    use_threads(module, threads, sorted(os.sched_getaffinity(0))[:threads])
    arrays = [tvm.runtime.tensor(np.zeros(2 * board.lanes, FLOAT32)) for _ in range(3)]
    return _timed_s(module, "triad", *arrays)


def _best_s(func: Any, name: str, board: Board, *arguments: Any) -> float:
    """Seconds per call, the best of several repeats."""
    return _timed_s(compile_kernel(func, board.tvm_target()).jit(), name, *arguments)


def _timed_s(module: Any, name: str, *arguments: Any) -> float:
    once = float(module.time_evaluator(name, tvm.cpu(), number=1)(*arguments).mean)
    number = max(1, int(_SECONDS / _REPEATS / max(once, 1e-8)))
    timed = module.time_evaluator(name, tvm.cpu(), number=number, repeat=_REPEATS)(*arguments)
    return float(min(timed.results))
