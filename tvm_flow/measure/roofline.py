"""What one core of this machine reaches at most: its FMA rate and its memory bandwidth, measured.

Both are kernels generated and compiled like those of a network, so that the code generator and the
clock are the same as those of what is held against them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.emit.kernel import OPAQUE
from tvm_flow.schedules.cpu.emit.vector import f32, load, registers, store
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board

# An FMA takes 4 or 5 cycles and up to 3 issue per cycle: fewer chains than 15 would wait for
# results. Together with two operands they must fit into the vector registers (16 on AVX2).
_CHAINS = 24
_OPERANDS = 2
_STEPS = 4096
_STREAM_BYTES = 1 << 26  # per array, where the last cache is unknown or smaller than half of it


class PeakKernel:
    """A kernel that does nothing but FMAs in registers, on one core; :meth:`run` runs it once."""

    def __init__(self, board: Board) -> None:
        lanes = board.lanes
        chains = min(_CHAINS, board.vector_registers - _OPERANDS)
        self.flops = 2 * lanes * chains * _STEPS
        self._main = compile_kernel(_fma_kernel(lanes, chains), board.tvm_target())["fma"]
        # The factor and the summand come from memory, so no pass can simplify them away; with these
        # values the sums stay finite and normal.
        self._operands = tvm.runtime.tensor(np.repeat(np.array([0.5, 1.0], FLOAT32), lanes))
        self._sums = tvm.runtime.tensor(np.zeros(chains * lanes, FLOAT32))

    def run(self) -> None:
        self._main(self._operands, self._sums)

    @property
    def sums(self) -> np.ndarray:
        """The accumulators after the last run: all of them converge to 2."""
        return np.asarray(self._sums.numpy())


def peak_gflops(board: Board, seconds: float = 0.3) -> float:
    """Best fp32 GFLOP/s (1 FMA = 2 FLOPs) of the core this runs on, over ``seconds``.

    ``board`` must be this machine. Source of the method: independent chains of FMAs, as many as
    latency times issue rate, see Agner Fog, Optimizing subroutines in assembly language, chapter 9.
    Raises :class:`UsageError` for a time that is not positive.
    """
    kernel = PeakKernel(board)
    return kernel.flops / _best(kernel.run, seconds) / 1e9


@cache
def peak_of(board: Board, threads: int = 1) -> float:
    """Peak GFLOP/s of ``threads`` cores: measured if ``board`` is this machine, else theoretical.

    What a machine says of its clock is often the nominal one; kernels then run at "130 % of peak".
    """
    if not board.is_native:
        return board.peak_gflops(threads)
    return threads * peak_gflops(board, 0.1)


def stream_gbps(board: Board, seconds: float = 0.5, footprint: int | None = None) -> float:
    """Best bandwidth in GB/s of one core, over ``seconds``: triad a = b + s*c.

    Counts two arrays read and one written (STREAM's rule, McCalpin 1995). Each array is larger
    than twice the last cache, or with ``footprint`` all three together take that many bytes: the
    bandwidth of the level they fit in. Raises :class:`UsageError` for a time or size that is not
    positive.
    """
    if footprint is not None and footprint < 1:
        raise UsageError(f"Cannot stream {footprint} bytes", fix="pass a footprint above 0")
    size = max(_STREAM_BYTES, 2 * 1024 * board.l3_kib) if footprint is None else footprint // 3
    count = max(1, size // FLOAT32.bytes // board.lanes) * board.lanes
    main = compile_kernel(triad_kernel(board.lanes, count), board.tvm_target())["triad"]
    arrays = [tvm.runtime.tensor(np.full(count, value, FLOAT32)) for value in (1, 2, 0)]
    return 3 * FLOAT32.bytes * count / _best(lambda: main(*arrays), seconds) / 1e9


def _best(run: Callable[[], None], seconds: float) -> float:
    """The shortest time of a single run in seconds; the first one warms up."""
    if seconds <= 0:
        raise UsageError(f"Cannot measure for {seconds} seconds", fix="pass a time above 0")
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best


def _fma_kernel(lanes: int, chains: int) -> tirx.PrimFunc:
    """sums[i] = sums[i] * operands[0] + operands[1], many times, ``chains`` sums at once.

    The sums come from memory and go back to it, so the work has an effect LLVM must keep.
    """
    with IRBuilder() as builder, T.prim_func():
        T.func_name("fma")
        operands = T.arg("operands", T.buffer((_OPERANDS * lanes,), FLOAT32))
        sums = T.arg("sums", T.buffer((chains * lanes,), FLOAT32))
        _attributes("fma")
        held = [registers(lanes) for _ in range(chains)]
        for i, value in enumerate(held):
            store(value, load(sums, i * lanes, lanes), 0, lanes)
        with T.serial(0, _STEPS):
            for value in held:
                product = load(value, 0, lanes) * load(operands, 0, lanes)
                store(value, product + load(operands, lanes, lanes), 0, lanes)
        for i, value in enumerate(held):
            store(sums, load(value, 0, lanes), i * lanes, lanes)
    return builder.get()


def triad_kernel(lanes: int, count: int, *, parallel: bool = False) -> tirx.PrimFunc:
    """a = b + 3 * c over ``count`` elements; ``parallel``: shared among threads."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("triad")
        b, c, a = (T.arg(name, T.buffer((count,), FLOAT32)) for name in "bca")
        _attributes("triad")
        loop = T.parallel if parallel else T.serial
        with loop(0, count // lanes) as i:
            value = load(b, i * lanes, lanes) + f32(3.0, lanes) * load(c, i * lanes, lanes)
            store(a, value, i * lanes, lanes)
    return builder.get()


def _attributes(name: str) -> None:
    T.func_attr(
        {
            "global_symbol": name,
            "tirx.noalias": True,
            "tirx.is_scheduled": True,
            "op_pattern": OPAQUE,
        }
    )
