"""Small graphs by hand: nodes as the importer and as the layout pass leave them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tvm_flow.ir.graph import Array, Graph, Node

NCHW, NHWC = (1, 8, 6, 6), (1, 6, 6, 8)
rng = np.random.default_rng(0)


def given(shape: tuple[int, ...] = NCHW) -> Node:
    return Node("input", [], shape, name="x")


def const(value: Any) -> Node:
    array = np.asarray(value, np.float32)
    return Node("const", [], array.shape, weights={"value": array})


def conv(x: Node, co: int = 8, k: int = 3, **attrs: Any) -> Node:
    """As imported: NCHW, same padding."""
    full = {"strides": (1, 1), "padding": (k // 2,) * 4, "groups": 1, "dilation": (1, 1), **attrs}
    ci = x.shape[1] // full["groups"]
    weight = rng.standard_normal((co, ci, k, k)).astype("f")
    weights = {"weight": weight, "bias": np.ones(co, "f")}
    return Node("conv2d", [x], (x.shape[0], co, *x.shape[2:]), full, weights, ("conv",))


def kernel(x: Node, *more: Node, co: int = 8, k: int = 1, **attrs: Any) -> Node:
    """``conv2d`` after the layout pass."""
    window = {"kh": k, "kw": k, "sh": 1, "sw": 1, "ph": k // 2, "pw": k // 2}
    full = {**window, "layout": "nhwc", "act": "none", "res": "none", **attrs}
    weights = {"weight": np.ones((co, 8, k, k), "f"), "bias": np.ones(co, "f")}
    return Node("conv2d", [x, *more], (*x.shape[:3], co), full, weights)


def act(x: Node, kind: str = "relu") -> Node:
    return Node("act", [x], x.shape, {"kind": kind})


def binary(op: str, a: Node, b: Node) -> Node:
    return Node(op, [a, b], np.broadcast_shapes(a.shape, b.shape))


def part(x: Node, start: int, stop: int, axis: int = 1) -> Node:
    shape = (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
    return Node("slice", [x], shape, {"axis": axis, "start": start, "stop": stop})


def concat(*parts: Node, axis: int = 1) -> Node:
    total = sum(p.shape[axis] for p in parts)
    shape = (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :])
    return Node("concat", list(parts), shape, {"axis": axis})


def same(graph: Graph, *expected: Node) -> None:
    assert graph.text() == Graph(graph.inputs, list(expected)).text()


def affine(x: Node, scale: Array, shift: Array) -> Node:
    return Node("affine", [x], x.shape, {}, {"scale": scale, "shift": shift}, ("bn",))
