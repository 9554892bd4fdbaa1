"""The model: seconds per call of a recorded kernel on a core."""

from __future__ import annotations

from dataclasses import dataclass

from tvm_flow.modelled.cores import Machine
from tvm_flow.modelled.mca import Analyser, kernel_cycles
from tvm_flow.modelled.trace import Trace

#: Share of a miss's latency that the core waits for: of single misses, and of those that follow a
#: stream, which prefetching has mostly hidden. Chosen on x86 (benchmarks/modelled_validation.py).
EXPOSED_RANDOM = 0.3
EXPOSED_STREAMED = 0.05


@dataclass(frozen=True)
class Cost:
    """Cycles of one call: ``compute`` without cache misses, ``memory`` for waiting on them."""

    compute: float
    memory: float
    instructions: int

    @property
    def cycles(self) -> float:
        return self.compute + self.memory


def cost_of(trace: Trace, machine: Machine, analyser: Analyser) -> Cost:
    """Modelled cost of the traced call. Raises :class:`TuningError` if a tool fails."""
    core, memory = machine.core, 0.0
    for misses, cycles in ((trace.l1, core.l2_cycles), (trace.l2, core.memory_cycles)):
        memory += cycles * (EXPOSED_RANDOM * misses.random + EXPOSED_STREAMED * misses.streamed)
    return Cost(kernel_cycles(trace, analyser), memory, trace.instructions)
