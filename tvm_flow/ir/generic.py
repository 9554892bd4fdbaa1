"""Operators that nothing of this project computes: TVM's plain loops do, slowly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tvm_flow.ir.graph import Graph, Node, unique

#: What ``codegen/rest`` computes in vectors: a pass over memory for what moves or changes single
#: elements, and for what reduces rows of them. Not what calls a function for every element.
_IN_VECTORS = frozenset(
    {
        "input", "const", "reshape", "permute", "slice", "concat", "slice_scatter", "clip", "add",
        "subtract", "multiply", "divide", "act", "affine", "channel_shuffle", "concat_shuffle",
        *(f"relax.{name}" for name in (
            "abs", "add", "astype", "broadcast_to", "ceil", "clip", "concat", "divide", "equal",
            "exp", "expand_dims", "flatten", "flip", "floor", "full", "greater", "less", "log",
            "maximum", "minimum", "multiply", "negative", "nn.leakyrelu", "nn.pad", "nn.relu",
            "nn.silu", "permute_dims", "power", "reshape", "round", "rsqrt", "sigmoid", "sign",
            "split", "sqrt", "square", "squeeze", "stack", "strided_slice", "subtract", "tanh",
            "take", "tile", "where", "zeros_like", "ones_like", "full_like", "erf", "floor_mod",
            "greater_equal", "less_equal", "not_equal", "logical_and", "logical_or", "logical_not",
            "isnan", "trunc", "repeat", "nn.gelu", "nn.gelu_tanh", "nn.prelu", "nn.softmax",
            "nn.log_softmax", "nn.layer_norm", "nn.group_norm", "nn.instance_norm", "mean", "sum",
            "max", "min", "variance", "std", "bitwise_and", "bitwise_or", "bitwise_not",
        )),
    }
)  # fmt: skip


@dataclass(frozen=True)
class GenericOperator:
    """``operator`` as the graph names it, without ``relax.``; ``modules``: paths of the PyTorch
    modules; ``macs``: multiply-accumulates of the ``count`` places where it occurs."""

    operator: str
    modules: tuple[str, ...]
    macs: int
    count: int


def generic_operators(graph: Graph, kernel: Callable[[Node], bool]) -> tuple[GenericOperator, ...]:
    """The operators of an optimised graph without a ``kernel``, by name, those with the most
    multiply-accumulates first. Views, element-wise operators and reductions do not count."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes():
        if node.op not in _IN_VECTORS and not kernel(node):
            found.setdefault(_name(node), []).append(node)
    operators = [
        GenericOperator(name, _modules(nodes), sum(map(macs_of, nodes)), len(nodes))
        for name, nodes in found.items()
    ]
    return tuple(sorted(operators, key=lambda operator: -operator.macs))


def _name(node: Node) -> str:
    return node.op.removeprefix("relax.").removeprefix("nn.")


def _modules(nodes: Iterable[Node]) -> tuple[str, ...]:
    """Of the nodes; of those that lost theirs the modules of their weights."""
    paths: list[str] = []
    for node in nodes:
        paths += node.modules or [path for source in node.inputs for path in source.modules]
    return unique(tuple(paths))


def macs_of(node: Node) -> int:
    """Multiply-accumulates of a convolution or product without a kernel; 0 for other operators."""
    name = _name(node)
    if "weight" in node.weights:
        return _times(node.shape) * _times(node.weights["weight"].shape[1:])
    if len(node.inputs) < 2:
        return 0
    first, second = node.inputs[0].shape, node.inputs[1].shape
    if name.endswith("_transpose"):  # weights are [in, out / groups, window]
        return _times(first) * _times(second[1:])
    if name.startswith("conv"):
        return _times(node.shape) * _times(second[1:])
    return _times(node.shape) * first[-1] if name == "matmul" else 0


def _times(extents: Sequence[int]) -> int:
    return int(np.prod(extents, dtype=np.int64))


def remark(operators: Sequence[GenericOperator], macs: int) -> list[str]:
    """For the user, in a sentence: what runs slowly, where, and how much of the network it is."""
    if not operators:
        return []
    share = 100 * sum(operator.macs for operator in operators) / max(1, macs)
    named = ", ".join(f"{o.count} {o.operator}{_place(o)}" for o in operators)
    return [
        f"no kernel of tvm-flow's computes {named}: {share:.0f} % of the MACs run as plain loops, "
        "which may take many times as long as PyTorch; compare tells (--strict refuses)"
    ]


def _place(operator: GenericOperator) -> str:
    first, *others = operator.modules or ("",)
    more = f" and {len(others)} more" if others else ""
    return f" ({first}{more})" if first else ""
