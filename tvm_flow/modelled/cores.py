"""What the model knows of a core beside its target file: simulator names and cache geometry."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board


@dataclass(frozen=True)
class Core:
    """One core type.

    ``mca``: the scheduling model of LLVM that stands for it; ``emulated``: what ``qemu -cpu``
    takes; ``l1_ways``, ``l2_ways``: associativity of the data caches; ``l2_cycles``,
    ``memory_cycles``: load-to-use cycles of the second level and beyond it; ``line_cycles``: per
    line of 64 bytes that comes from the second level; ``in_order``: it does not reorder;
    ``remark``: what is not this core's own; ``loads``: of vectors, per cycle; ``widest``: bytes of
    one.
    """

    mca: str
    emulated: str
    l1_ways: int
    l2_ways: int
    l2_cycles: int
    memory_cycles: int
    line_cycles: float
    in_order: bool = False
    remark: str = ""
    loads: int = 1
    widest: int = 16


#: Associativity: Arm's technical reference manuals of the cores (A53, A57, A72; A78AE), NVIDIA's
#: Xavier TRM, AMD's optimisation guides for Zen 4 and 5. Latencies: of the same order as published
#: measurements (7-cpu.com for A53, A57, A72); beyond L2 they depend on the board's DRAM. Lines:
#: width of the path between the levels (bytes a cycle: Zen 5: 64; Zen 4: 32; A57, A72: 16; A53: 8,
#: assumed). Loads: Arm's software optimisation guides (A57, A72, N1; A53: assumed), AMD's.
CORES = {
    "cortex-a53": Core("cortex-a53", "cortex-a53", 4, 16, 13, 150, 8, in_order=True),
    "cortex-a57": Core("cortex-a57", "cortex-a57", 2, 16, 18, 200, 4),
    "cortex-a72": Core("cortex-a72", "cortex-a72", 2, 16, 18, 200, 4),
    "carmel": Core(
        "neoverse-n1", "max", 4, 16, 15, 200, 2, False,
        "LLVM has no model of Carmel: Neoverse N1 (4-wide, two 128-bit FMLA a cycle) stands in", 2,
    ),
    "cortex-a78ae": Core(
        "neoverse-n1", "max", 4, 8, 11, 200, 2, False,
        "LLVM 19 has no model of Cortex-A78AE: Neoverse N1, the same family, stands in", 2,
    ),
    # Without "erms" the C library clears memory by vector stores, which the model understands.
    "znver4": Core("znver4", "max,-erms", 8, 8, 14, 50, 2, loads=2, widest=32),
    "znver5": Core(
        "znver5", "max,-erms", 12, 16, 14, 50, 1, False,
        "LLVM 19 schedules for Zen 5 by its model of Zen 4", 2, 32,
    ),
}  # fmt: skip


def core_of(board: Board) -> Core:
    """The model of the first core that ``board`` runs on.

    Raises :class:`UsageError` where there is none.
    """
    mcpu = board.cluster_of(board.cores[0]).mcpu
    if mcpu not in CORES:
        raise UsageError(
            f"No model of {board.name}'s core",
            why=f"it is {mcpu}; modelled are {', '.join(sorted(CORES))}",
            fix="measure on the board, or choose a target with one of these cores",
        )
    return CORES[mcpu]


@dataclass(frozen=True)
class CoreModel:
    """All that the model takes of a board: ``mhz`` is the core's highest clock."""

    core: Core
    triple: str
    l1_bytes: int
    l2_bytes: int
    mhz: int

    @classmethod
    def of(cls, board: Board) -> CoreModel:
        """Raises :class:`UsageError` where the core is not modelled."""
        mhz = board.cluster_of(board.cores[0]).max_mhz
        return cls(core_of(board), board.mtriple, board.l1_bytes, board.l2_bytes, mhz)
