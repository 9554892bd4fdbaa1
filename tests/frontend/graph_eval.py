"""Compute an imported graph node by node with PyTorch: what the import means, without the passes.

Nodes that keep their Relax call are compiled by TVM on their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import tvm
from torch import Tensor
from torch.nn import functional as F
from tvm import relax

from tvm_flow.ir.graph import Graph, Node


def evaluate(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of ``graph`` in order."""
    values: dict[int, Tensor] = {}
    for node, data in zip(graph.inputs, inputs, strict=True):
        values[id(node)] = torch.from_numpy(data)
    for node in graph.nodes():
        if node.op != "input":
            args = [values[id(source)] for source in node.inputs]
            values[id(node)] = _one(node, args)
        value = values[id(node)]
        assert tuple(value.shape) == node.shape, node.describe()
        assert str(value.dtype) == f"torch.{node.dtype}", node.describe()
    return [values[id(node)].numpy() for node in graph.outputs]


def _one(node: Node, args: list[Tensor]) -> Tensor:
    if "call" in node.attrs:
        return _relax(node, args)
    return _OPS[node.op](node, args)


def _relax(node: Node, args: list[Tensor]) -> Tensor:
    call = node.attrs["call"]
    params = [
        relax.Var(f"x{i}", relax.TensorType(source.shape, source.dtype))
        for i, source in enumerate(node.inputs)
    ]
    fields = list(call.args)
    for slot, param in zip(node.attrs["slots"], params, strict=True):
        fields[slot] = param
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        builder.emit_func_output(
            builder.emit(relax.Call(call.op, fields, call.attrs, call.ty_args))
        )
    vm = relax.VirtualMachine(tvm.compile(builder.get(), target="llvm"), tvm.cpu())
    tensors = [tvm.runtime.tensor(arg.contiguous().numpy()) for arg in args]
    return torch.from_numpy(vm["main"](*tensors).numpy())


def _weight(node: Node, name: str) -> Tensor:
    return torch.from_numpy(node.weights[name].copy())  # ascontiguousarray turns 0-d into 1-d


def _conv2d(node: Node, args: list[Tensor]) -> Tensor:
    top, left, bottom, right = node.attrs["padding"]
    x = F.pad(args[0], (left, right, top, bottom))
    return F.conv2d(
        x, _weight(node, "weight"), _weight(node, "bias"), node.attrs["strides"],
        0, node.attrs["dilation"], node.attrs["groups"],
    )  # fmt: skip


def _affine(node: Node, args: list[Tensor]) -> Tensor:
    shape = [1, -1] + [1] * (len(node.shape) - 2)
    scale, shift = (_weight(node, name).reshape(shape) for name in ("scale", "shift"))
    return args[0] * scale + shift


def _slice(node: Node, args: list[Tensor]) -> Tensor:
    a = node.attrs
    return args[0].narrow(a["axis"], a["start"], a["stop"] - a["start"])


def _slice_scatter(node: Node, args: list[Tensor]) -> Tensor:
    a = node.attrs
    return torch.slice_scatter(args[0], args[1], a["axis"], a["start"], a["stop"])


def _pool(kind: Callable[..., Tensor]) -> Callable[[Node, list[Tensor]], Tensor]:
    def run(node: Node, args: list[Tensor]) -> Tensor:
        a = node.attrs
        return kind(args[0], a["kernel"], a["strides"], a["padding"][:2])

    return run


_ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu, "gelu": F.gelu, "silu": F.silu, "sigmoid": torch.sigmoid,
}  # fmt: skip

_OPS: dict[str, Callable[[Node, list[Tensor]], Tensor]] = {
    "const": lambda node, _: _weight(node, "value"),
    "conv2d": _conv2d,
    "dense": lambda node, s: F.linear(s[0], _weight(node, "weight"), _weight(node, "bias")),
    "affine": _affine,
    "act": lambda node, s: _ACTS[node.attrs["kind"]](s[0]),
    "clip": lambda node, s: s[0].clamp(node.attrs["low"], node.attrs["high"]),
    "add": lambda node, s: s[0] + s[1],
    "subtract": lambda node, s: s[0] - s[1],
    "multiply": lambda node, s: s[0] * s[1],
    "divide": lambda node, s: s[0] / s[1],
    "concat": lambda node, s: torch.cat(s, node.attrs["axis"]),
    "slice": _slice,
    "slice_scatter": _slice_scatter,
    "reshape": lambda node, s: s[0].reshape(node.attrs["shape"]),
    "permute": lambda node, s: s[0].permute(node.attrs["axes"]),
    "max_pool": _pool(F.max_pool2d),
    "avg_pool": _pool(F.avg_pool2d),
    "global_pool": lambda node, s: s[0].mean((2, 3), keepdim=True),
}
