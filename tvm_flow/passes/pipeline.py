"""The whole compilation on one screen: which pass runs when, and what it leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tvm_flow.codegen.emit import Choice, Chooser, emit
from tvm_flow.codegen.schedule_rest import fuse_rest, schedule_rest
from tvm_flow.ir.graph import Graph, Node, unique
from tvm_flow.ir.lowered import Lowered, TensorInfo
from tvm_flow.ir.tasks import Task, cpu_of, merge
from tvm_flow.passes.common.fold_affine import fold_affine
from tvm_flow.passes.common.fold_views import fold_views
from tvm_flow.passes.common.fuse_epilogue import fuse_epilogue
from tvm_flow.passes.common.fuse_pconv import fuse_pconv_block, fuse_pconv_pointwise
from tvm_flow.passes.common.recognise_pconv import recognise_pconv
from tvm_flow.passes.common.recognise_shuffle import recognise_shuffle
from tvm_flow.passes.common.simplify import simplify
from tvm_flow.passes.cpu.choose_mbconv import choose_mbconv, fusable
from tvm_flow.passes.cpu.fuse_mbconv import fuse_mbconv
from tvm_flow.passes.cpu.keep_nchw import keep_nchw
from tvm_flow.passes.cpu.to_nhwc import to_nhwc
from tvm_flow.passes.cpu.workloads import candidates
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.base import Cpu
from tvm_flow.targets import Board

GraphPass = Callable[[Graph], Graph]


def phases(layout: str = "NCHW", cache_bytes: int | None = None) -> list[tuple[str, GraphPass]]:
    """Named graph passes in order.

    ``layout`` is that of 4-D inputs and outputs; ``cache_bytes`` the last cache of the target,
    which decides what is worth keeping out of memory (``None``: nothing).
    """
    last = float("inf") if cache_bytes is None else cache_bytes
    return [
        # what the importer spelt out gets its name back
        ("simplify", simplify),
        ("fold_affine", fold_affine),
        ("recognise_pconv", recognise_pconv),
        ("recognise_shuffle", recognise_shuffle),
        # from here on tensors are NHWC and channel slices are offsets
        ("to_nhwc", lambda graph: to_nhwc(graph, border=layout)),
        ("fuse_epilogue", fuse_epilogue),
        ("keep_nchw", keep_nchw),
        ("fuse_pconv_pointwise", fuse_pconv_pointwise),
        ("fuse_pconv_block", fuse_pconv_block),
        ("fold_views", fold_views),
        ("fuse_mbconv", lambda graph: fuse_mbconv(graph, last)),
    ]


def optimise(graph: Graph, layout: str = "NCHW", cache_bytes: int | None = None) -> Graph:
    """Run all graph passes. The graph passed in is consumed."""
    for _, graph_pass in phases(layout, cache_bytes):
        graph = graph_pass(graph)
    return graph


def tasks_of(graph: Graph) -> list[Task]:
    """The distinct workloads of an optimised graph, in order of first use.

    Ways to compute the same nodes are tasks of one group: only the fastest of them will be used.
    Ways to compute several nodes at once name the nodes' groups as their parts.
    """
    found = [task for node in graph.nodes() for task in _ways(node)]
    for node, chain in fusable(graph):
        parts = tuple(task.layers for part in chain for task in _ways(part)[:1])
        found += [replace(task, parts=parts) for task in _ways(node)]
    return [replace(task, modules=unique(task.modules)) for task in merge(found)]


def _ways(node: Node) -> list[Task]:
    ways = candidates(node)
    return [Task(way, 1, node.modules, ways[0].key) for way in ways]


def last_cache(board: Board) -> int:
    """Bytes of the largest cache that a core of ``board`` can use."""
    return max(board.l3_kib * 1024, board.l2_bytes)


def default_choice(cpu: Cpu) -> Chooser:
    """The family's default knobs for everything."""
    return lambda workload: Choice(registry.lookup(workload.op).default(workload, cpu), "default")


def lower(
    graph: Graph, board: Board, *, choose: Chooser | None = None, layout: str = "NCHW"
) -> Lowered:
    """Optimised graph -> Relax with kernels in place, ready for ``relax.build``."""
    cpu = cpu_of(board, board.threads)
    choose = choose or default_choice(cpu)
    graph = choose_mbconv(graph, cpu, choose)
    mod, kernels = emit(graph, cpu, choose)
    mod = schedule_rest(fuse_rest()(mod), cpu.lanes, cpu.threads)
    return Lowered(
        mod=mod,
        board=board,
        model_name=graph.name,
        inputs=[_info(node, node.name or "input") for node in graph.inputs],
        outputs=[_info(node, f"output{i}" if i else "output") for i, node in
                 enumerate(graph.outputs)],
        layout=layout,
        kernels=kernels,
    )  # fmt: skip


def _info(node: Node, name: str) -> TensorInfo:
    return TensorInfo(name, node.shape, node.dtype)


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
            return int(np.prod(source.shape[:-1])) * width * source.element_bytes
    return source.bytes
