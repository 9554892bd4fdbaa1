"""The value of every node of a graph, before, between and after the passes, with PyTorch.

Operators of the kernels are computed as the problems they are (:mod:`tvm_flow.verify.problems`),
those that are emitted as Relax by their Relax code (:mod:`tvm_flow.verify.relax_nodes`), the rest
here. What an operator means is in :mod:`tvm_flow.ir.graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.cpu.problems import problem_of
from tvm_flow.schedules.contract.problem import NCHW
from tvm_flow.verify.problems import (
    activated,
    compute,
    partial_convolution,
    pooled,
    product,
    resized,
    transposed_convolution,
    volume_convolution,
)
from tvm_flow.verify.relax_nodes import RelaxNodes

#: Called with a node and its value; what it returns is what the node's users are given.
Watch = Callable[[Node, Tensor], Tensor]
Weights = dict[str, Tensor]

#: Operators that are problems of kernels once the layout pass has said in which layout.
_KERNELS = frozenset({"depthwise", "pool2d", "mbconv", "pconv_pointwise", "pconv_block"})
#: The same for those that are also called so before it.
_CONVOLUTIONS = frozenset({"conv2d", "conv3d", "conv_transpose", "resize"})


class WrongShapeError(Exception):
    """A node's value has another shape or element type than the node says."""


class Evaluator:
    """Computes one graph as often as wanted."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = graph.nodes()
        self._relax = RelaxNodes(self.nodes)

    def run(
        self, inputs: Sequence[Tensor], watch: Watch | None = None, *, double: bool = False
    ) -> list[Tensor]:
        """Outputs for inputs as the graph takes them.

        ``watch`` sees every value and may replace it. With ``double``, fp32 tensors are fp64, but
        within nodes that keep their Relax call. Raises :class:`WrongShapeError`, and what PyTorch
        raises for a node that makes no sense.
        """
        values: dict[int, Tensor] = {}
        for node, given in zip(self.graph.inputs, inputs, strict=True):
            values[id(node)] = _widened(given, double)
        for node in self.nodes:
            if node.op != "input":
                args = [values[id(source)] for source in node.inputs]
                values[id(node)] = _widened(self._one(node, args, double), double)
            value = values[id(node)]
            _check(node, value, double)
            if watch is not None:
                values[id(node)] = watch(node, value)
        return [values[id(node)] for node in self.graph.outputs]

    def _one(self, node: Node, args: list[Tensor], double: bool) -> Tensor:
        if "call" in node.attrs:
            return self._relax.run(node, args)
        weights = {
            name: _widened(torch.tensor(value), double) for name, value in node.weights.items()
        }
        lowered = node.op in _KERNELS or (node.op in _CONVOLUTIONS and "layout" in node.attrs)
        problem = problem_of(node) if lowered else None
        if problem is not None:
            return compute(problem, args, weights)
        if node.op in _CHANNELS:
            nchw = self.graph.layout == NCHW
            turned = args if nchw else [x.permute(0, 3, 1, 2) for x in args]
            y = _CHANNELS[node.op](node, turned, weights)
            return y if nchw else y.permute(0, 2, 3, 1)
        return _PLAIN[node.op](node, args, weights)


def _widened(value: Tensor, double: bool) -> Tensor:
    return value.double() if double and value.dtype is torch.float32 else value


def _check(node: Node, value: Tensor, double: bool) -> None:
    wide = torch.float64 if double and node.dtype == "float32" else getattr(torch, node.dtype)
    if tuple(value.shape) != node.shape or value.dtype is not wide:
        shapes = [f"{'x'.join(map(str, s))}" for s in (value.shape, node.shape)]
        raise WrongShapeError(
            f"it is {value.dtype} {shapes[0]} where {node.dtype} {shapes[1]} was expected"
        )


def _conv2d(node: Node, args: list[Tensor], weights: Weights) -> Tensor:
    top, left, bottom, right = node.attrs["padding"]
    x = F.pad(args[0], (left, right, top, bottom))
    return F.conv2d(
        x, weights["weight"], weights["bias"], node.attrs["strides"],
        0, node.attrs["dilation"], node.attrs["groups"],
    )  # fmt: skip


def _conv_transpose(node: Node, args: list[Tensor], weights: Weights) -> Tensor:
    a, (height, width) = node.attrs, node.shape[2:]
    return transposed_convolution(
        args[0], weights, a["strides"], a["padding"], (height, width), a["dilation"], a["groups"]
    )


def _conv3d(node: Node, args: list[Tensor], weights: Weights) -> Tensor:
    a = node.attrs
    return volume_convolution(
        args[0], weights, a["depth"], a["strides"], a["padding"], a["dilation"], a["groups"]
    )


def _regroup(node: Node, args: list[Tensor], _weights: Weights) -> Tensor:
    n, c, h, w = node.shape
    return args[0].permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)


def _affine(node: Node, args: list[Tensor], weights: Weights) -> Tensor:
    shape = [1, -1] + [1] * (len(node.shape) - 2)
    return args[0] * weights["scale"].reshape(shape) + weights["shift"].reshape(shape)


def _slice(node: Node, args: list[Tensor], _weights: Weights) -> Tensor:
    a = node.attrs
    return args[0].narrow(a["axis"], a["start"], a["stop"] - a["start"])


def _slice_scatter(node: Node, args: list[Tensor], _weights: Weights) -> Tensor:
    a = node.attrs
    return torch.slice_scatter(args[0], args[1], a["axis"], a["start"], a["stop"])


Operator = Callable[[Node, list[Tensor], Weights], Tensor]


def _pool(node: Node, args: list[Tensor], _weights: Weights) -> Tensor:
    a = node.attrs
    return pooled(
        args[0], node.op.removesuffix("_pool"), a["kernel"], a["strides"], a["padding"],
        a.get("dilation", (1, 1)),
    )  # fmt: skip


def _global_pool(node: Node, args: list[Tensor], _weights: Weights) -> Tensor:
    """In either layout: over the axes of which one element is left."""
    x = args[0]
    axes = [axis for axis, size in enumerate(node.shape) if size != x.shape[axis]]
    return x.mean(axes, keepdim=True) if axes else x


_PLAIN: dict[str, Operator] = {
    "const": lambda node, _, w: w["value"],
    "conv2d": _conv2d,
    "conv3d": _conv3d,
    "conv_transpose": _conv_transpose,
    "regroup": _regroup,
    "resize": lambda node, s, _: resized(s[0], (node.shape[2], node.shape[3]), **node.attrs),
    "dense": lambda node, s, w: F.linear(s[0], w["weight"], w["bias"]),
    "affine": _affine,
    "act": lambda node, s, _: activated(node.attrs["kind"], s[0]),
    "clip": lambda node, s, _: s[0].clamp(node.attrs["low"], node.attrs["high"]),
    "add": lambda node, s, _: s[0] + s[1],
    "subtract": lambda node, s, _: s[0] - s[1],
    "multiply": lambda node, s, _: s[0] * s[1],
    "divide": lambda node, s, _: s[0] / s[1],
    "concat": lambda node, s, _: torch.cat(s, node.attrs["axis"]),
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "reshape": lambda node, s, _: s[0].reshape(node.shape),
    "permute": lambda node, s, _: s[0].permute(node.attrs["axes"]),
    "matmul": lambda node, s, _: product(s[0], s[1], (node.attrs["ta"], node.attrs["tb"])),
    "max_pool": _pool,
    "avg_pool": _pool,
    "global_pool": _global_pool,
}

#: Operators with a channel axis, which the graph's layout says, on NCHW tensors.
_CHANNELS: dict[str, Operator] = {
    "pconv": lambda node, s, w: partial_convolution(s[0], w, node.attrs),
    "channel_shuffle": lambda node, s, _: F.channel_shuffle(s[0], node.attrs["groups"]),
    "concat_shuffle": lambda node, s, _: F.channel_shuffle(torch.cat(s, 1), 2),
}
