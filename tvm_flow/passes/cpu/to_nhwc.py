"""NHWC inside: a 1x1 convolution is then a matrix product and a channel slice an offset.

Every 4-D operator with a rule is rewritten to NHWC; around one without, transposes are inserted.
A convolution of an NCHW input with few channels (a picture) reads it directly (its ``layout`` is
then ``nchw_to_nhwc``), so that the border costs no transpose either. Depthwise convolutions become
``depthwise``; a dense layer becomes a 1x1 convolution over one pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_flow.ir.graph import Graph, Node, rewrite
from tvm_flow.passes.common.elementwise import ELEMENTWISE, FOLLOWING
from tvm_flow.schedules.contract.problem import AXES, NCHW, NCHW_TO_NHWC, NHWC
from tvm_flow.schedules.operators.sliding import window_params

#: From this many channels on an NCHW input is transposed before a convolution reads it. Windows of
#: several taps have much to gain, since Winograd needs NHWC; a 1x1 gains only easier access
#: (decision 0006).
TRANSPOSED_CHANNELS, TRANSPOSED_CHANNELS_1X1 = 16, 192

_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
_RULED = ELEMENTWISE | {
    "conv2d", "conv3d", "conv_transpose", "concat", "slice", "max_pool", "avg_pool", "global_pool",
    "pconv", "channel_shuffle", "concat_shuffle", "regroup", "resize",
}  # fmt: skip


def to_nhwc(graph: Graph, *, border: str = "NCHW") -> Graph:
    """Convert; 4-D inputs and outputs keep NCHW unless ``border`` is ``"NHWC"``."""
    converter = _Converter(border)
    for node in [*graph.inputs, *graph.nodes()]:  # also inputs that nothing reads
        converter.convert(node)
    outputs = [converter.result(node) for node in graph.outputs]
    inputs = [converter.new[id(node)] for node in graph.inputs]
    made = Graph(inputs, outputs, graph.name, NHWC, graph.output_names)
    return rewrite(made, cancel_permutes)


def nhwc_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    n, c, h, w = shape
    return (n, h, w, c)


class _Converter:
    def __init__(self, border: str) -> None:
        self.border = border
        self.new: dict[int, Node] = {}
        self.in_nhwc: dict[int, bool] = {}
        self.permuted: dict[tuple[int, bool], Node] = {}

    def convert(self, node: Node) -> None:
        if id(node) in self.new:
            return
        four = len(node.shape) == 4
        if node.op == "input":
            nhwc = four and self.border == "NHWC"
            shape = nhwc_shape(node.shape) if nhwc else node.shape
            new = Node("input", [], shape, dtype=node.dtype, name=node.name)
        elif four and self._convertible(node):
            nhwc, new = True, self._ruled(node)
        elif node.op == "dense":
            nhwc, new = False, self._dense(node)
        elif node.op == "reshape" and self._pixel(node.inputs[0]):
            source = self._get(node.inputs[0], True)
            nhwc = False
            new = Node("reshape", [source], node.shape, {"shape": node.shape}, dtype=node.dtype)
        else:
            nhwc = False
            sources = [self._get(source, False) for source in node.inputs]
            new = Node(node.op, sources, node.shape, node.attrs, node.weights, node.modules,
                       node.dtype, node.name)  # fmt: skip
        self.new[id(node)], self.in_nhwc[id(node)] = new, nhwc

    def _convertible(self, node: Node) -> bool:
        if node.op not in ELEMENTWISE | FOLLOWING:
            return node.op in _RULED
        return _of_one_layout(node) and any(self._suits_nhwc(node, s) for s in node.inputs)

    def _suits_nhwc(self, node: Node, source: Node) -> bool:
        """Whether an element-wise operator has something of an input's being in NHWC: what reads
        the network's own input is likely to be read by a convolution."""
        return self.in_nhwc[id(source)] or (source.op == "input" and node.op in ELEMENTWISE)

    def _pixel(self, node: Node) -> bool:
        """A 4-D tensor of one pixel has the same elements in the same order in both layouts."""
        return len(node.shape) == 4 and node.shape[2:] == (1, 1) and self.in_nhwc[id(node)]

    def _get(self, node: Node, nhwc: bool) -> Node:
        """The converted node in the wanted layout."""
        new = self.new[id(node)]
        if len(node.shape) != 4 or self.in_nhwc[id(node)] == nhwc:
            return new
        key = (id(node), nhwc)
        if key not in self.permuted:
            axes = AXES[NHWC if nhwc else NCHW]
            shape = tuple(new.shape[a] for a in axes)
            if new.op == "const":
                value = np.ascontiguousarray(new.weights["value"].transpose(axes))
                self.permuted[key] = Node(
                    "const", [], shape, weights={"value": value}, dtype=new.dtype
                )
            else:
                self.permuted[key] = Node("permute", [new], shape, {"axes": axes}, dtype=new.dtype)
        return self.permuted[key]

    def _ruled(self, node: Node) -> Node:
        attrs = dict(node.attrs)
        if "axis" in attrs:
            attrs["axis"] = _AXIS[attrs["axis"] % 4]
        op, weights, shape = node.op, node.weights, nhwc_shape(node.shape)
        if op == "conv2d":
            return self._conv(node, shape)
        if op in ("conv3d", "conv_transpose"):
            return self._convolution(node, shape)
        sources = [
            self._get(s, True) if len(s.shape) == 4 else self.new[id(s)] for s in node.inputs
        ]
        if op == "affine":
            op, attrs = "depthwise", _window((1, 1))
            weights = {"weight": weights["scale"].reshape(-1, 1, 1), "bias": weights["shift"]}
        if op in ("max_pool", "avg_pool"):
            dilation = attrs.get("dilation", (1, 1))
            attrs = _window(attrs["kernel"], attrs["strides"], attrs["padding"], dilation)
            attrs["mode"] = op.removesuffix("_pool")
            op = "pool2d"
        if op == "resize":
            attrs |= {"layout": NHWC, "act": "none", "res": "none"}
        if op == "regroup":
            op, attrs = "reshape", {"shape": shape}
        return Node(op, sources, shape, attrs, weights, node.modules, node.dtype)

    def _conv(self, node: Node, shape: tuple[int, ...]) -> Node:
        a, weight = node.attrs, node.weights["weight"]
        attrs = _window(weight.shape[2:], a["strides"], a["padding"], a["dilation"])
        source = node.inputs[0]
        if a["groups"] == source.shape[1] == weight.shape[0] > 1:
            weights = {"weight": weight[:, 0], "bias": node.weights["bias"]}
            return Node("depthwise", [self._get(source, True)], shape, attrs | {"act": "none"},
                        weights, node.modules)  # fmt: skip
        border = not self.in_nhwc[id(source)] and self.new[id(source)].op == "input"
        direct = border and source.shape[1] < _transposed_from(weight.shape)
        x = self.new[id(source)] if direct else self._get(source, True)
        attrs |= {"layout": NCHW_TO_NHWC if direct else NHWC, "act": "none", "res": "none"}
        attrs |= {"groups": a["groups"]} if a["groups"] > 1 else {}
        return Node("conv2d", [x], shape, attrs, node.weights, node.modules)

    def _convolution(self, node: Node, shape: tuple[int, ...]) -> Node:
        """Transposed, or 3-D with an axis more in front."""
        a, kernel = node.attrs, node.weights["weight"].shape[2:]
        strides, padding, dilation = a["strides"], a["padding"], a["dilation"]
        attrs = _window(kernel[-2:], strides[-2:], padding[-2:], dilation[-2:])
        attrs |= {"layout": NHWC, "act": "none", "res": "none"}
        attrs |= {"groups": a["groups"]} if a["groups"] > 1 else {}
        if node.op == "conv3d":
            attrs |= {"d": a["depth"], "kd": kernel[0], "sd": strides[0], "pd": padding[0]}
            attrs |= {"dd": dilation[0]} if dilation[0] > 1 else {}
        source = self._get(node.inputs[0], True)
        return Node(node.op, [source], shape, attrs, node.weights, node.modules)

    def _dense(self, node: Node) -> Node:
        """[..., in] -> [..., out] as a 1x1 convolution over the leading axes as pixels."""
        x = self._get(node.inputs[0], False)
        pixels, (out, inputs) = int(np.prod(x.shape[:-1])), node.weights["weight"].shape
        flat = Node("reshape", [x], (1, 1, pixels, inputs), {"shape": (1, 1, pixels, inputs)})
        weights = {
            "weight": node.weights["weight"].reshape(out, inputs, 1, 1),
            "bias": node.weights["bias"],
        }
        attrs = _window((1, 1)) | {"layout": NHWC, "act": "none", "res": "none"}
        conv = Node("conv2d", [flat], (1, 1, pixels, out), attrs, weights, node.modules)
        return Node("reshape", [conv], node.shape, {"shape": node.shape})

    def result(self, node: Node) -> Node:
        return self._get(node, self.border == "NHWC")


def _of_one_layout(node: Node) -> bool:
    """Whether all inputs have four axes, or are one number."""
    return all(
        len(s.shape) == 4 or (s.op == "const" and s.weights["value"].size == 1) for s in node.inputs
    )


def _transposed_from(weight: tuple[int, ...]) -> int:
    return TRANSPOSED_CHANNELS_1X1 if weight[2:] == (1, 1) else TRANSPOSED_CHANNELS


def _window(
    kernel: tuple[int, ...],
    strides: tuple[int, int] = (1, 1),
    padding: tuple[int, ...] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """``padding`` above, on the left and, unless it is the same, below and on the right. What is as
    usual is left out, as in problems."""
    attrs = {
        "kh": int(kernel[0]), "kw": int(kernel[1]), "sh": strides[0], "sw": strides[1],
        "ph": padding[0], "pw": padding[1], "dh": dilation[0], "dw": dilation[1],
    } | dict(zip(("pb", "pr"), padding[2:], strict=False))  # fmt: skip
    return window_params(attrs)


def cancel_permutes(node: Node, users: dict[int, list[Node]]) -> Node | None:
    """Two transposes that undo each other, and reshapes of reshapes."""
    if node.op == "permute" and node.inputs[0].op == "permute":
        inner = node.inputs[0]
        axes = tuple(inner.attrs["axes"][a] for a in node.attrs["axes"])
        if axes == tuple(range(len(axes))):
            return inner.inputs[0]
        return Node("permute", inner.inputs, node.shape, {"axes": axes}, dtype=node.dtype)
    if node.op == "reshape":
        if node.inputs[0].shape == node.shape:
            return node.inputs[0]
        if node.inputs[0].op == "reshape":
            return Node("reshape", node.inputs[0].inputs, node.shape, node.attrs, dtype=node.dtype)
    return None
