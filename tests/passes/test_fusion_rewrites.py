"""One pass at a time, from the layout pass on: a graph before, the graph expected after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.nodes import NHWC, act, binary, const, conv, given, kernel, part, same
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.common.fold_views import fold_views
from tvm_flow.passes.common.fuse_epilogue import fuse_epilogue
from tvm_flow.passes.common.fuse_pconv import (
    fuse_pconv_block,
    fuse_pconv_pointwise,
    is_pointwise,
)
from tvm_flow.passes.cpu.fuse_mbconv import fuse_mbconv
from tvm_flow.passes.cpu.problems import problem_of
from tvm_flow.passes.cpu.to_nhwc import to_nhwc


def test_to_nhwc_reads_an_nchw_input_directly() -> None:
    x = given()
    graph = to_nhwc(Graph([x], [conv(x, 5)]))
    assert [node.op for node in graph.nodes()] == ["input", "conv2d", "permute"]
    assert graph.nodes()[1].attrs["layout"] == "nchw_to_nhwc"
    assert graph.outputs[0].shape == (1, 5, 6, 6)


def test_to_nhwc_turns_axes_and_cancels_transposes() -> None:
    x = given()
    middle = act(part(conv(x), 2, 6))
    graph = to_nhwc(Graph([x], [Node("permute", [middle], (1, 6, 6, 4), {"axes": (0, 2, 3, 1)})]))
    assert [node.op for node in graph.nodes()] == ["input", "conv2d", "slice", "act"]
    assert graph.nodes()[2].attrs["axis"] == 3


@pytest.mark.parametrize(
    ("attrs", "left"),
    [
        ({"groups": 2}, {"groups": 2}),
        ({"dilation": (2, 1), "padding": (2, 1, 2, 1)}, {"dh": 2}),
        ({"padding": (1, 0, 1, 2)}, {"pr": 2}),
        ({}, {}),
    ],
)
def test_to_nhwc_says_of_a_window_what_is_unusual(
    attrs: dict[str, Any], left: dict[str, int]
) -> None:
    x = given()
    found = to_nhwc(Graph([x], [conv(x, **attrs)])).nodes()[1]
    unusual = {k: v for k, v in found.attrs.items() if k in ("groups", "dh", "dw", "pb", "pr")}
    assert (found.op, unusual) == ("conv2d", left)
    problem = problem_of(found)
    assert problem is not None
    assert dict(problem.params).items() >= {"ci": 8, "co": 8, **left}.items()


def test_only_dense_and_regular_windows_join_chains() -> None:
    x = given(NHWC)
    assert is_pointwise(kernel(x))
    assert not is_pointwise(kernel(x, groups=2))
    assert not is_pointwise(kernel(x, pb=1))


def test_fuse_epilogue_takes_activation_and_residual() -> None:
    x = given(NHWC)
    same(fuse_epilogue(Graph([x], [act(kernel(x), "gelu")])), kernel(x, act="gelu"))
    for y in (binary("add", x, kernel(x)), binary("add", kernel(x), x)):
        same(fuse_epilogue(Graph([x], [act(y)])), kernel(x, x, res="pre", act="relu"))
        same(fuse_epilogue(Graph([x], [y])), kernel(x, x, res="pre"))
    y = binary("add", act(kernel(x)), x)
    same(fuse_epilogue(Graph([x], [y])), kernel(x, x, res="post", act="relu"))


def test_fuse_epilogue_leaves_shared_and_broadcast_operands() -> None:
    x = given(NHWC)
    y = kernel(x)
    for before in (
        Graph([x], [act(y), y]),
        Graph([x], [binary("add", y, part(x, 0, 1))]),
        Graph([x], [binary("add", y, const(np.ones(NHWC)))]),
        Graph([x], [act(binary("add", act(kernel(x, res="none")), x)), act(y), y]),
    ):
        assert len([n for n in fuse_epilogue(before).nodes() if n.op in ("act", "add")]) >= 1


def pconv(x: Node) -> Node:
    weights = {"conv": np.ones((2, 2, 3, 3), "f"), "conv_bias": np.ones(2, "f")}
    return Node("pconv", [x], x.shape, {"cc": 2, "k": 3}, weights)


def fused(op: str, x: Node, *more: Node, co: int = 8, **attrs: Any) -> Node:
    weights = pconv(x).weights | {"w1": np.ones((co, 8)), "b1": np.ones(co)}
    if op == "pconv_block":
        weights |= {"w2": np.ones((8, co)), "b2": np.ones(8)}
    shape = (*x.shape[:3], 8 if op == "pconv_block" else co)
    full = {"cc": 2, "k": 3, "act": "none", "res": "none", **attrs}
    return Node(op, [x, *more], shape, full, weights)


def test_fuse_pconv_with_one_and_two_pointwise_convolutions() -> None:
    x = given(NHWC)
    one = kernel(pconv(x), co=5, act="relu")
    same(fuse_pconv_pointwise(Graph([x], [one])), fused("pconv_pointwise", x, co=5, act="relu"))
    first = fused("pconv_pointwise", x, co=16, act="gelu")
    second = kernel(first, x, res="pre")
    second.weights["weight"] = np.ones((8, 16, 1, 1), "f")
    expected = fused("pconv_block", x, co=16, act="gelu", res="pre")
    same(fuse_pconv_block(Graph([x], [second])), expected)


@pytest.mark.parametrize("attrs", [{"sh": 2}, {"ph": 1}, {"k": 3}, {"res": "post"}])
def test_fuse_pconv_leaves_other_convolutions(attrs: dict[str, Any]) -> None:
    x = given(NHWC)
    before = Graph([x], [kernel(pconv(x), x, **attrs)])
    text = before.text()
    assert fuse_pconv_pointwise(before).text() == text


def test_fuse_pconv_block_needs_its_own_input_as_residual() -> None:
    x = given(NHWC)
    before = Graph([x], [kernel(fused("pconv_pointwise", x), act(x), res="pre")])
    text = before.text()
    assert fuse_pconv_block(before).text() == text


def test_fold_views_into_loads_and_shuffled_stores() -> None:
    x = given((1, 6, 6, 16))
    a, b = part(x, 0, 8, axis=3), part(x, 8, 16, axis=3)
    mixed = Node("concat_shuffle", [a, kernel(b, act="relu")], (1, 6, 6, 16))
    expected = kernel(x, x, act="relu", mix=1, bcp=16, bc0=0, icp=16, ic0=8, channels=8)
    expected.shape = (1, 6, 6, 16)
    same(fold_views(Graph([x], [mixed])), expected)


def test_fold_views_leaves_a_convolution_with_two_users() -> None:
    x = given(NHWC)
    y = kernel(x)
    before = Graph([x], [Node("concat_shuffle", [x, y], (1, 6, 6, 16)), y])
    text = before.text()
    assert fold_views(before).text() == text


@pytest.mark.parametrize(("cache_bytes", "fuses"), [(0, True), (4 * 36 * 8, False)])
def test_fuse_mbconv_depends_on_the_cache(cache_bytes: int, fuses: bool) -> None:
    x = given(NHWC)
    window = {"kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1, "act": "relu"}
    weights = {"weight": np.ones((8, 3, 3), "f"), "bias": np.ones(8, "f")}
    middle = Node("depthwise", [kernel(x, act="relu6")], NHWC, window, weights)
    graph = fuse_mbconv(Graph([x], [kernel(middle, x, res="pre")]), cache_bytes)
    assert (graph.outputs[0].op == "mbconv") == fuses
