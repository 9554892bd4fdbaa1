"""The peaks that predictions go by: measured on this machine, from data sheets for a board."""

from __future__ import annotations

from tvm_flow.analysis.predict import DATA_SHEET, MEASURED, Level, Peaks
from tvm_flow.measure.machine_peaks import machine_peaks
from tvm_flow.modelled.cores import Core, core_of
from tvm_flow.modelled.model import BEYOND_STREAMED
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board

#: Cycles of a call of a kernel on a board: pointers, registers and cold branches. Not measured.
_LAUNCH_CYCLES = 200
_LINE = 64


def peaks_of(board: Board, *, again: bool = False) -> Peaks:
    """Of ``board.threads`` threads. ``again``: measure this machine's anew. Raises as
    :func:`machine_peaks` does."""
    return _measured(board, again) if board.is_native else _data_sheet(board)


def _measured(board: Board, again: bool) -> Peaks:
    found = machine_peaks(board, again=again)
    levels = tuple(Level(size, rate) for size, rate in found.bandwidth)
    launch = found.launch_s if board.threads == 1 else found.fork_s
    return Peaks(
        board.threads, board.threads * found.gflops, levels, board.dram_gbps, launch,
        MEASURED, f"measured on this machine on {found.taken}, and kept",
    )  # fmt: skip


def _data_sheet(board: Board) -> Peaks:
    mhz = board.cluster_of(board.cores[0]).max_mhz
    return Peaks(
        board.threads, board.peak_gflops(board.threads), _levels(board, mhz), board.dram_gbps,
        1e-6 * _LAUNCH_CYCLES / mhz, DATA_SHEET,
        f"data sheet of {board.name}: clock, FMA units, widths of the caches, DRAM",
    )  # fmt: skip


def _levels(board: Board, mhz: int) -> tuple[Level, ...]:
    """Bytes a cycle that a core loads, that come from its L2, and that come from memory while its
    prefetcher hides most of the latency."""
    last = max(board.l2_bytes, 1024 * board.l3_kib)
    beyond = Level(4 * last, board.dram_gbps)
    try:
        core: Core = core_of(board)
    except UsageError:  # of a user's own board: nothing is known of its caches but their size
        return (beyond,)
    per_cycle = 1e-3 * mhz
    nearer = per_cycle * _LINE / core.line_cycles
    streamed = min(nearer, per_cycle * _LINE / (BEYOND_STREAMED * core.memory_cycles))
    return (
        Level(board.l1_bytes // 2, per_cycle * core.loads * board.lanes * 4),
        Level(board.l2_bytes // 2, nearer),
        Level(4 * last, min(streamed, board.dram_gbps or streamed)),
    )
