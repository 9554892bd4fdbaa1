"""What a graph does: its operators, its copies and the bytes it moves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tvm_flow.ir.graph import Graph, Node

#: operators that only move data
COPIES = frozenset(
    {"slice", "concat", "slice_scatter", "permute", "channel_shuffle", "concat_shuffle"}
)


@dataclass(frozen=True)
class Summary:
    """What a graph does: operators by name, copy operators, bytes read and written per run."""

    operators: dict[str, int]
    copies: int
    bytes_moved: int


def summarise(graph: Graph) -> Summary:
    """Count operators and the bytes each reads and writes, weights included."""
    operators: Counter[str] = Counter()
    moved = 0
    for node in graph.nodes():
        if node.op in ("input", "const", "reshape"):
            continue
        operators[node.op] += 1
        weights = sum(w.nbytes for w in node.weights.values())
        moved += node.bytes + int(weights) + sum(_read(node, s) for s in node.inputs)
    copies = sum(n for op, n in operators.items() if op in COPIES)
    return Summary(dict(operators), copies, moved)


def _read(node: Node, source: Node) -> int:
    """Bytes a node reads of one input: a folded slice reads its channels only."""
    if "channels" in node.attrs or "bc0" in node.attrs:
        width = node.attrs.get("channels", node.attrs.get("bcp", 0) // 2)
        if source.shape[-1] in (node.attrs.get("icp"), node.attrs.get("cp"), node.attrs.get("bcp")):
            return source.bytes // source.shape[-1] * int(width)
    return source.bytes
