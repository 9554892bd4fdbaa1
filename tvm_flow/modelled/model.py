"""The model: seconds per call of a recorded kernel on a core."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.modelled.cores import CoreModel
from tvm_flow.modelled.mca import Analyser, kernel_cycles
from tvm_flow.modelled.trace import Trace

#: Cycles by which a cache line that comes from the second level delays a core that reorders, beside
#: the time its transfer takes. Fitted on x86 (benchmarks/modelled_validation.py).
EXPOSED = 0.5
#: The same for a core in order, as shares of the latency: it waits for every load that no
#: prefetcher has announced. Not fitted: no such core is at hand.
IN_ORDER_RANDOM, IN_ORDER_STREAMED = 0.5, 0.05
#: And for lines that come from beyond the second level, on any core.
BEYOND_RANDOM, BEYOND_STREAMED = 0.3, 0.05


@dataclass(frozen=True)
class Cost:
    """Cycles of one call. ``compute``: without cache misses, accesses across two lines included;
    ``transfer``: what moving the missed lines takes at least, which overlaps with ``compute``;
    ``waiting``: for lines, not overlapped. ``splits``: those accesses.
    ``l1_misses`` and ``l2_misses`` are (random, streamed) lines."""

    compute: float
    transfer: float
    waiting: float
    instructions: int
    splits: int
    l1_misses: tuple[int, int]
    l2_misses: tuple[int, int]

    @property
    def cycles(self) -> float:
        return max(self.compute, self.transfer) + self.waiting


def cost_of(trace: Trace, model: CoreModel, analyser: Analyser) -> Cost:
    """Modelled cost of the traced call. Raises :class:`TuningError` if a tool fails."""
    core, l1, l2 = model.core, trace.l1, trace.l2
    lines = l1.random + l1.streamed
    if core.in_order:
        share = IN_ORDER_RANDOM * l1.random + IN_ORDER_STREAMED * l1.streamed
        waiting = core.l2_cycles * share
    else:
        waiting = EXPOSED * lines
    waiting += core.memory_cycles * (BEYOND_RANDOM * l2.random + BEYOND_STREAMED * l2.streamed)
    # a load across two lines is done as two
    compute = kernel_cycles(trace, analyser) + trace.splits / core.loads
    return Cost(
        compute, core.line_cycles * lines, waiting, trace.instructions, trace.splits,
        (l1.random, l1.streamed), (l2.random, l2.streamed),
    )  # fmt: skip
