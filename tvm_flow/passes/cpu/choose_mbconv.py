"""1x1 -> depthwise -> 1x1 as one operator or as three, whichever is faster.

Records decide: the fastest known way of the fused operator against the sum of its parts. Without
any, on several threads, a chain is fused where that saves more than it costs. It saves two loops
to share out and to wait for; it costs the rows of the hidden tensor that two shares both compute,
and shares that are less equal.
"""

from __future__ import annotations

from collections.abc import Iterable

from tvm_flow.ir.choice import Chooser
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.cpu.fuse_mbconv import Chain, chain_at, fuse_chains, fused
from tvm_flow.passes.cpu.problems import problem_of, ways
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.ops.mbconv.whole import share_macs

#: Cycles of a core that two loops less are worth (decision 0009).
_LOOPS_CYCLES = 6000
#: Seconds that a loop on several threads takes longer in a network than where it is repeated alone,
#: with all it reads in the right core's cache (decision 0009).
_LOOP_S = 0.5e-6


def choose_mbconv(graph: Graph, cpu: Cpu, choose: Chooser) -> Graph:
    """Fuse the chains that are faster so."""
    return fuse_chains(graph, lambda chain: _pays(chain, cpu, choose))


def fusable(graph: Graph) -> list[tuple[Node, Chain]]:
    """What each chain of the graph would be as one operator, and the chain."""
    users = graph.users()
    found = [chain_at(node, users) for node in graph.nodes()]
    return [(fused(chain), chain) for chain in found if chain]


def _pays(chain: Chain, cpu: Cpu, choose: Chooser) -> bool:
    whole = fused(chain)
    together, apart = _seconds([whole], cpu, choose), _seconds(chain, cpu, choose)
    if together is not None and apart is not None:
        loops = len(chain) - 1 if cpu.threads > 1 else 0
        return together < apart + loops * _LOOP_S
    if together is not None or apart is not None:
        return apart is None
    return _pays_untuned(whole, cpu)


def _seconds(nodes: Iterable[Node], cpu: Cpu, choose: Chooser) -> float | None:
    """What records say that nodes take one after the other; ``None`` where one has no record."""
    total = 0.0
    for node in nodes:
        known = [s for way in ways(node, cpu) if (s := choose(way).seconds) is not None]
        if not known:
            return None
        total += min(known)
    return total


def _pays_untuned(node: Node, cpu: Cpu) -> bool:
    problem = problem_of(node)
    if cpu.threads < 2 or problem is None:
        return False
    busiest, mean = share_macs(problem, cpu.threads)
    return busiest - mean <= _LOOPS_CYCLES * cpu.lanes * cpu.fmas
