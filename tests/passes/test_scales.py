"""Scales and shifts by constants beside and after activations: where they go, and that what is
computed stays the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tests.passes.nodes import act, affine, binary, const, conv, given
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.common.fold_affine import fold_affine
from tvm_flow.passes.common.fuse_epilogue import fuse_epilogue
from tvm_flow.passes.cpu.fuse_mbconv import fuse_mbconv
from tvm_flow.passes.cpu.to_nhwc import to_nhwc
from tvm_flow.verify.evaluate import Evaluator

rng = np.random.default_rng(1)


def per_channel(count: int, rank: int = 4) -> Node:
    return const(rng.uniform(0.5, 2, (1, count, *[1] * (rank - 2))))


def dense(x: Node, out: int) -> Node:
    weights = {"weight": rng.standard_normal((out, x.shape[-1])).astype("f")}
    weights["bias"] = rng.standard_normal(out).astype("f")
    return Node("dense", [x], (*x.shape[:-1], out), {}, weights, ("dense",))


def transposed(x: Node, co: int) -> Node:
    attrs = {"strides": (2, 2), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    weights = {"weight": rng.standard_normal((co, x.shape[1], 2, 2)).astype("f")}
    weights["bias"] = rng.standard_normal(co).astype("f")
    return Node("conv_transpose", [x], (1, co, 12, 12), attrs, weights)


def values(graph: Graph) -> list[np.ndarray]:
    torch.manual_seed(0)
    inputs = [torch.randn(node.shape, dtype=torch.float64) for node in graph.inputs]
    return [y.numpy() for y in Evaluator(graph).run(inputs, double=True)]


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes() if node.op not in ("input", "const")]


def linear(x: Node) -> Node:
    """0.2 x + 0.5, then halves and a difference, as exporters spell numbers."""
    y = binary("add", binary("multiply", const(0.2), x), const([0.5]))
    return binary("subtract", const([[[[1.0]]]]), binary("divide", y, const(2.0)))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: linear(conv(x, 10)), ["conv2d"]),
        (lambda x: linear(conv(x, 10, groups=2)), ["conv2d"]),
        (lambda x: linear(conv(x, 10, k=1)), ["conv2d"]),
        (lambda x: linear(transposed(x, 10)), ["conv_transpose"]),
        (lambda x: binary("multiply", conv(x, 58), per_channel(58)), ["conv2d"]),
        (lambda x: conv(linear(act(x)), 10, k=1), ["act", "conv2d"]),
        (lambda x: conv(linear(act(x)), 10, k=1, groups=2), ["act", "conv2d"]),
        (lambda x: conv(binary("multiply", act(x), per_channel(10)), 20, groups=5),
         ["act", "conv2d"]),
        (lambda x: transposed(binary("multiply", act(x), per_channel(10)), 6),
         ["act", "conv_transpose"]),
        (lambda x: linear(act(conv(x, 10))), ["conv2d", "act", "affine"]),
        (lambda x: conv(linear(act(conv(x, 10)))), ["conv2d", "act", "affine", "conv2d"]),
    ],
    ids=["3x3", "grouped", "1x1", "transposed", "channels", "before-1x1", "before-grouped",
         "scale-before-padding", "scale-before-transposed", "after-activation", "before-padding"],
)  # fmt: skip
def test_numbers_go_into_weights(make: Callable[[Node], Node], expected: list[str]) -> None:
    x = given((1, 10, 6, 6))
    graph = Graph([x], [make(x)])
    before = values(graph)
    graph = fold_affine(graph)
    assert ops(graph) == expected
    np.testing.assert_allclose(values(graph)[0], before[0], rtol=1e-4, atol=1e-5)


def test_the_last_axis_of_a_dense_layer_is_its_channels() -> None:
    x = given((1, 10, 10))
    scaled = binary("add", binary("multiply", dense(x, 10), const(rng.random(10))), const(2.0))
    rows = binary("multiply", dense(scaled, 10), const(rng.random((10, 1))))
    graph = Graph([x], [dense(binary("add", rows, const(rng.random(10))), 4)])
    before = values(graph)
    graph = fold_affine(graph)
    assert ops(graph) == ["dense", "dense", "multiply", "dense"]
    np.testing.assert_allclose(values(graph)[0], before[0], rtol=1e-4)


def test_a_batch_norm_along_another_axis_stays() -> None:
    x = given((1, 10, 10))
    norm = affine(dense(x, 10), rng.random(10).astype("f"), np.zeros(10, "f"))
    assert ops(fold_affine(Graph([x], [norm]))) == ["dense", "affine"]


def test_what_others_read_as_well_stays() -> None:
    x = given()
    scaled = binary("multiply", act(x), const(3.0))
    graph = Graph([x], [conv(scaled, k=1), scaled])
    assert ops(fold_affine(graph)) == ["act", "multiply", "conv2d"]
    twice = binary("multiply", act(x), const(3.0))
    graph = Graph([x], [conv(twice, k=1), conv(twice)])
    assert ops(fold_affine(graph)) == ["act", "conv2d", "conv2d"]


def test_infinite_and_unordered_constants_stay() -> None:
    x = given()
    for bad in (binary("divide", conv(x), const(0.0)), binary("divide", const(1.0), conv(x)),
                binary("add", conv(x), const(np.nan))):  # fmt: skip
        assert len(ops(fold_affine(Graph([x], [bad])))) == 2


def compiled_shape(x: Node) -> Graph:
    """What the layout pass and the epilogues make of a network."""
    graph = to_nhwc(fold_affine(Graph(x_inputs(x), [x])), border="NHWC")
    return fuse_epilogue(graph)


def x_inputs(node: Node) -> list[Node]:
    return [found for found in Graph([], [node]).nodes() if found.op == "input"]


def depthwise(x: Node, k: int = 3) -> Node:
    return conv(x, x.shape[1], k, groups=x.shape[1])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda x: linear(act(conv(x, 58), "hardswish")), "conv2d"),
        (lambda x: linear(act(depthwise(x), "hardswish")), "depthwise"),
        (lambda x: binary("multiply", act(depthwise(x)), per_channel(10)), "depthwise"),
    ],
)
def test_scales_after_activations_go_into_epilogues(
    make: Callable[[Node], Node], expected: str
) -> None:
    x = given((1, 10, 6, 6))
    end = make(x)
    before = values(Graph([x], [end]))[0].transpose(0, 2, 3, 1)
    torch.manual_seed(0)
    graph = compiled_shape(end)
    assert ops(graph) == [expected]
    assert graph.outputs[0].attrs["post"] == 1
    turned = torch.randn(x.shape, dtype=torch.float64).permute(0, 2, 3, 1)
    (y,) = Evaluator(graph).run([turned], double=True)
    np.testing.assert_allclose(y.numpy(), before, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_keeps_the_activation_after_it() -> None:
    """Which the kernel of the batch norm computes at no cost."""
    x = given((1, 8, 6, 6))
    norm = affine(act(conv(x)), np.full(8, 2, "f"), np.ones(8, "f"))
    graph = compiled_shape(act(norm, "relu6"))
    assert [node.attrs["act"] for node in graph.nodes() if node.inputs] == ["relu", "relu6"]


def test_kernels_with_scales_are_in_no_chain() -> None:
    x = given((1, 8, 20, 20))
    first = linear(act(conv(x, 16, 1)))
    chain = conv(act(depthwise(first)), 8, 1)
    graph = fuse_mbconv(compiled_shape(chain), 0)
    assert "mbconv" not in ops(graph)


def test_layer_scale_and_residual_of_a_dense_layer_go_through_its_reshape() -> None:
    x = given((1, 36, 10))
    flat = Node("reshape", [x], (36, 10), {"shape": (36, 10)})
    made = dense(flat, 10)
    back = Node("reshape", [made], x.shape, {"shape": x.shape})
    end = binary("add", x, binary("multiply", back, const(rng.random(10))))
    before = values(Graph([x], [end]))
    graph = fuse_epilogue(to_nhwc(fold_affine(Graph([x], [end])), border="NCHW"))
    assert [op for op in ops(graph) if op not in ("reshape", "permute")] == ["conv2d"]
    np.testing.assert_allclose(values(graph)[0], before[0], rtol=1e-4, atol=1e-5)
