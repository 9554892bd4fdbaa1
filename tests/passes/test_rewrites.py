"""One pass at a time, before the layout pass: a graph before, the graph expected after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.passes.nodes import NCHW, act, affine, binary, concat, const, conv, given, part, same
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.common.fold_affine import fold_affine
from tvm_flow.passes.common.recognise_pconv import recognise_pconv
from tvm_flow.passes.common.recognise_shuffle import recognise_shuffle
from tvm_flow.passes.common.simplify import simplify


def test_simplify_removes_what_does_nothing() -> None:
    x = given()
    y = Node("permute", [concat(part(x, 0, 8))], NCHW, {"axes": (0, 1, 2, 3)})
    same(simplify(Graph([x], [act(Node("reshape", [y], NCHW, {"shape": NCHW}))])), act(x))


def test_simplify_merges_slices_of_one_axis() -> None:
    x = given()
    same(simplify(Graph([x], [part(part(x, 2, 7), 1, 3)])), part(x, 3, 5))
    other = part(part(x, 2, 7), 1, 3, axis=2)
    same(simplify(Graph([x], [other])), part(part(x, 2, 7), 1, 3, axis=2))


def clip(x: Node, low: float, high: float) -> Node:
    return Node("clip", [x], x.shape, {"low": low, "high": high})


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(0.0, 6.0)], "relu6"),
        ([(0.0, np.inf)], "relu"),
        ([(-np.inf, 6.0), (0.0, np.inf)], "relu6"),
        ([(-1.0, np.inf), (-np.inf, 6.0), (0.0, np.inf)], "relu6"),
    ],
)
def test_simplify_names_clips(bounds: list[tuple[float, float]], expected: str) -> None:
    x = y = given()
    for low, high in bounds:
        y = clip(y, low, high)
    same(simplify(Graph([x], [y])), act(x, expected))


def test_simplify_keeps_the_value_of_disjoint_clips() -> None:
    x = given()
    same(simplify(Graph([x], [clip(clip(x, 2, 3), -1, 1)])), clip(x, 1, 1))
    same(simplify(Graph([x], [clip(clip(x, -3, -2), -1, 1)])), clip(x, -1, -1))


def hard(x: Node) -> Node:
    return clip(binary("add", x, const(3.0)), 0.0, 6.0)


def test_simplify_names_hardsigmoid_and_hardswish() -> None:
    x = given()
    sigmoid = binary("divide", hard(x), const(6.0))
    same(simplify(Graph([x], [sigmoid])), act(x, "hardsigmoid"))
    for swish in (
        binary("divide", binary("multiply", x, hard(x)), const(6.0)),
        binary("multiply", binary("multiply", hard(x), x), const(1 / 6)),
        binary("multiply", x, binary("divide", hard(x), const(6.0))),
    ):
        same(simplify(Graph([x], [swish])), act(x, "hardswish"))


def test_simplify_takes_a_bias_of_one_channel_for_one() -> None:
    x = given((1, 1, 6, 6))
    bias = binary("add", x, const([[[[2.0]]]]))
    same(simplify(Graph([x], [bias])), affine(x, np.ones(1, "f"), np.full(1, 2, "f")))
    number = binary("add", x, const(2.0))
    same(simplify(Graph([x], [number])), number)


def test_simplify_names_silu_but_not_the_gate_of_another_tensor() -> None:
    x = given()
    gate = act(x, "sigmoid")
    same(simplify(Graph([x], [binary("multiply", gate, x)])), act(x, "silu"))
    other = binary("multiply", act(x), act(x, "sigmoid"))
    assert "silu" not in simplify(Graph([x], [other])).text()


@pytest.mark.parametrize(
    ("op", "scale", "shift"),
    [("add", 1, 2), ("subtract", 1, -2), ("multiply", 2, 0), ("divide", 0.5, 0)],
)
def test_simplify_makes_channel_constants_affine(op: str, scale: float, shift: float) -> None:
    x = given()
    graph = simplify(Graph([x], [binary(op, x, const(np.full((8, 1, 1), 2)))]))
    node = graph.outputs[0]
    assert node.op == "affine"
    assert (node.weights["scale"] == scale).all()
    assert (node.weights["shift"] == shift).all()


def test_simplify_leaves_a_constant_along_another_axis() -> None:
    x = given()
    width = binary("add", x, const(np.arange(6)))
    same(simplify(Graph([x], [width])), binary("add", x, const(np.arange(6))))
    minus = binary("subtract", const(np.ones((8, 1, 1))), x)
    assert "affine" not in simplify(Graph([x], [minus])).text()


def test_fold_affine_into_a_convolution() -> None:
    x = given()
    first = conv(x)
    scale, shift = np.arange(1, 9, dtype="f"), np.arange(8, dtype="f")
    graph = fold_affine(Graph([x], [affine(first, scale, shift)]))
    (node,) = graph.outputs
    np.testing.assert_allclose(
        node.weights["weight"], first.weights["weight"] * scale[:, None, None, None], rtol=1e-6
    )
    np.testing.assert_allclose(node.weights["bias"], scale + shift)
    assert node.modules == ("conv", "bn")


def test_fold_affine_chains_and_stops_at_shared_nodes() -> None:
    x = given()
    two, three = np.full(8, 2, "f"), np.full(8, 3, "f")
    graph = fold_affine(Graph([x], [affine(affine(x, two, three), three, two)]))
    (node,) = graph.outputs
    assert node.inputs == [x]
    assert (node.weights["scale"] == 6).all()
    assert (node.weights["shift"] == 11).all()
    shared = conv(x)
    before = Graph([x], [affine(shared, two, two), act(shared)])
    text = before.text()
    assert fold_affine(before).text() == text


def test_recognise_pconv_in_both_forms() -> None:
    x = given()
    expected = Node("pconv", [x], NCHW, {"cc": 2, "k": 3},
                    {"conv": np.zeros((2, 2, 3, 3)), "conv_bias": np.zeros(2)})  # fmt: skip
    joined = concat(conv(part(x, 0, 2), 2), part(x, 2, 5), part(x, 5, 8))
    same(recognise_pconv(Graph([x], [joined])), expected)
    attrs = {"axis": 1, "start": 0, "stop": 2}
    scattered = Node("slice_scatter", [x, conv(part(x, 0, 2), 2)], NCHW, attrs)
    same(recognise_pconv(Graph([x], [scattered])), expected)


@pytest.mark.parametrize(
    ("make", "more"),
    [
        (lambda x: conv(x, 2, dilation=(2, 2), padding=(2,) * 4), {"d": 2}),
        (lambda x: act(conv(x, 2)), {"inner": "relu"}),
    ],
    ids=["dilated", "activated"],
)
def test_recognise_pconv_with(make: Callable[[Node], Node], more: dict[str, Any]) -> None:
    x = given()
    expected = Node("pconv", [x], NCHW, {"cc": 2, "k": 3, **more},
                    {"conv": np.zeros((2, 2, 3, 3)), "conv_bias": np.zeros(2)})  # fmt: skip
    joined = concat(make(part(x, 0, 2)), part(x, 2, 8))
    same(recognise_pconv(Graph([x], [joined])), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: concat(conv(part(x, 1, 3), 2), part(x, 2, 8)),
        lambda x: concat(conv(part(x, 0, 2), 2), part(x, 5, 8), part(x, 2, 5)),
        lambda x: concat(conv(part(x, 0, 2), 2), part(x, 3, 8)),
        lambda x: concat(conv(part(x, 0, 2), 2), part(act(x), 2, 8)),
        lambda x: concat(conv(part(x, 0, 2), 2, groups=2), part(x, 2, 8)),
        lambda x: concat(conv(part(x, 0, 2), 2, padding=(2, 1, 0, 1)), part(x, 2, 8)),
        lambda x: concat(conv(part(x, 0, 3, 2)), part(x, 3, 6, 2), axis=2),
    ],
    ids=["first", "order", "gap", "tensor", "groups", "padding", "axis"],
)
def test_recognise_pconv_leaves_what_only_looks_alike(make: Any) -> None:
    x = given()
    before = Graph([x], [make(x)])
    text = before.text()
    assert recognise_pconv(before).text() == text


def shuffled(x: Node, groups: int) -> Node:
    n, c, h, w = x.shape
    split = Node("reshape", [x], (n, groups, c // groups, h, w))
    turned = (n, c // groups, groups, h, w)
    return Node("reshape", [Node("permute", [split], turned, {"axes": (0, 2, 1, 3, 4)})], x.shape)


def test_recognise_shuffle_and_the_concat_before_it() -> None:
    x = given()
    same(recognise_shuffle(Graph([x], [shuffled(x, 4)])),
         Node("channel_shuffle", [x], NCHW, {"groups": 4}))  # fmt: skip
    a, b = part(x, 0, 4), part(x, 4, 8)
    same(recognise_shuffle(Graph([x], [shuffled(concat(a, b), 2)])),
         Node("concat_shuffle", [a, b], NCHW))  # fmt: skip
    three = shuffled(concat(a, part(x, 4, 6), part(x, 6, 8)), 2)
    assert "concat_shuffle" not in recognise_shuffle(Graph([x], [three])).text()
