"""Graph passes in order, and whoever wants to look in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm_flow.ir.graph import Graph

GraphPass = Callable[[Graph], Graph]
#: A named graph pass.
Phase = tuple[str, GraphPass]
#: Called with a phase's name and the graph it left behind.
Observer = Callable[[str, Graph], None]


def run_phases(graph: Graph, phases: Sequence[Phase], observe: Observer | None = None) -> Graph:
    """Run all phases. The graph passed in is consumed."""
    for name, graph_pass in phases:
        graph = graph_pass(graph)
        if observe is not None:
            observe(name, graph)
    return graph
