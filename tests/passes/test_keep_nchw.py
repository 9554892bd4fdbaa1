"""1x1 and depthwise convolutions between two NCHW tensors change no layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.passes.networks import Snippet, check, copies
from tests.passes.nodes import given, kernel, same
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.cpu.keep_nchw import keep_nchw
from tvm_flow.schedules.contract.problem import AXES

C = 10


def operators(graph: Graph) -> dict[str, int]:
    """How often the graph has each operator, with its layout where that is NCHW."""
    nodes = [node for node in graph.nodes() if node.op not in ("input", "const", "reshape")]
    return Counter(
        f"{node.op}_nchw" if node.attrs.get("layout") == "nchw" else node.op for node in nodes
    )


@pytest.mark.parametrize(
    "size", [(8, 12), (14, 14), (7, 7)], ids=["whole vectors", "a quarter one", "one pixel more"]
)
@pytest.mark.parametrize("channels", [C, 232], ids=["read as it is", "read transposed"])
def test_with_activation_and_batch(channels: int, size: tuple[int, int]) -> None:
    module = nn.Sequential(nn.Conv2d(channels, 58, 1), nn.BatchNorm2d(58), nn.GELU())
    graph = check(module.eval(), (3, channels, *size))
    assert operators(graph) == {"conv2d_nchw": 1}
    assert copies(graph) == []


def test_groups_have_weights_of_their_own() -> None:
    module = nn.Sequential(nn.Conv2d(12, 21, 1, groups=3), nn.ReLU())
    assert operators(check(module.eval(), (2, 12, 7, 7))) == {"conv2d_nchw": 1}


def used_twice(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    y = m.a(x)
    return y, m.dw(y)


def with_a_residual(m: Any, x: Tensor) -> Tensor:
    return m.a(x) + x


def inside(m: Any, x: Tensor) -> Tensor:
    return m.dw(m.a(m.dw(x)))


def of_a_slice(m: Any, x: Tensor) -> Tensor:
    return m.part(m.dw(x)[:, 3:7])


@pytest.mark.parametrize("forward", [used_twice, with_a_residual, inside, of_a_slice])
def test_what_stays_nhwc(forward: Callable[[Any, Tensor], Any]) -> None:
    module = Snippet(
        forward,
        a=nn.Conv2d(C, C, 1),
        dw=nn.Conv2d(C, C, 3, 1, 1, groups=C),
        part=nn.Conv2d(4, C, 1),
    )
    assert "conv2d_nchw" not in operators(check(module, (1, C, 8, 12)))


@pytest.mark.parametrize(
    ("conv", "size"),
    [
        (nn.Conv2d(C, 20, 1), (4, 8)),
        (nn.Conv2d(C, 20, 1), (9, 13)),
        (nn.Conv2d(C, 20, 1), (6, 11)),
        (nn.Conv2d(C, 20, 1, stride=2), (16, 16)),
        (nn.Conv2d(C, 20, 1, padding=1), (8, 14)),
        (nn.Conv2d(C, 20, 2, groups=2), (9, 17)),
    ],
    ids=["few pixels", "odd rest", "much padding", "stride", "padding", "groups of windows"],
)
def test_what_is_no_such_product(conv: nn.Module, size: tuple[int, int]) -> None:
    assert "conv2d_nchw" not in operators(check(conv, (1, C, *size)))


def test_between_others_that_are_nchw() -> None:
    module = nn.Sequential(nn.Conv2d(C, 20, 1), nn.ReLU(), nn.Flatten(2))
    x = torch.zeros(1, C, 8, 8)
    assert module(x).shape == (1, 20, 64)
    assert operators(check(module, (1, C, 8, 8)))["conv2d_nchw"] == 1


def turned(x: Node, to: str) -> Node:
    shape = tuple(x.shape[axis] for axis in AXES[to])
    return Node("permute", [x], shape, {"axes": AXES[to]})


WEIGHTS = {"weight": np.ones((8, 3, 3), "f"), "bias": np.ones(8, "f")}


def window(stride: int, k: int = 3) -> dict[str, int]:
    return {"kh": k, "kw": k, "sh": stride, "sw": stride, "ph": k // 2, "pw": k // 2}


def depthwise(x: Node, stride: int = 1, k: int = 3) -> Node:
    """After the layout pass."""
    n, h, w, c = x.shape
    shape = (n, -(-h // stride), -(-w // stride), c)
    return Node("depthwise", [x], shape, {**window(stride, k), "act": "relu"}, WEIGHTS)


def depthwise_nchw(x: Node, stride: int = 1) -> Node:
    n, c, h, w = x.shape
    shape = (n, c, -(-h // stride), -(-w // stride))
    attrs = {**window(stride), "act": "relu", "layout": "nchw"}
    return Node("depthwise", [x], shape, attrs, WEIGHTS)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_between_two_transposes(stride: int) -> None:
    x = given((2, 8, 14, 14))
    before = Graph([x], [turned(depthwise(turned(x, "nhwc"), stride), "nchw")])
    same(keep_nchw(before), depthwise_nchw(x, stride))


def test_depthwise_puts_the_transpose_where_less_is_to_copy() -> None:
    x = given((1, 8, 14, 14))
    before = Graph([x], [kernel(depthwise(turned(x, "nhwc"), 2), k=3)])
    same(keep_nchw(before), kernel(turned(depthwise_nchw(x, 2), "nhwc"), k=3))


def test_depthwise_with_results_in_both_layouts() -> None:
    x = given((1, 8, 14, 14))
    y = depthwise(turned(x, "nhwc"), 2)
    z = depthwise_nchw(x, 2)
    same(keep_nchw(Graph([x], [turned(y, "nchw"), y])), z, turned(z, "nhwc"))


def test_depthwise_that_stays_nhwc() -> None:
    x, narrow = given((1, 8, 14, 14)), given((1, 8, 14, 7))
    seen_twice = turned(x, "nhwc")
    for inputs, outputs in (
        (x, [kernel(depthwise(turned(x, "nhwc")))]),
        (x, [turned(depthwise(turned(x, "nhwc"), k=5), "nchw")]),
        (narrow, [turned(depthwise(turned(narrow, "nhwc")), "nchw")]),
        (x, [turned(depthwise(seen_twice, 2), "nchw"), kernel(seen_twice)]),
    ):
        text = Graph([inputs], outputs).text()
        assert keep_nchw(Graph([inputs], outputs)).text() == text


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [C, 58])
def test_depthwise_with_batch_norm(channels: int, stride: int) -> None:
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    module = nn.Sequential(conv, nn.BatchNorm2d(channels), nn.Hardswish())
    graph = check(module.eval(), (3, channels, 15, 29))
    assert operators(graph) == {"depthwise_nchw": 1}
    assert copies(graph) == []


def test_depthwise_then_pointwise_needs_no_transpose() -> None:
    module = nn.Sequential(nn.Conv2d(C, C, 3, 2, 1, groups=C), nn.ReLU(), nn.Conv2d(C, 20, 1))
    graph = check(module, (1, C, 16, 32))
    assert operators(graph) == {"depthwise_nchw": 1, "conv2d_nchw": 1}
    assert copies(graph) == []


def test_a_batch_norm_alone() -> None:
    graph = check(Snippet(lambda m, x: m.bn(x), bn=nn.BatchNorm2d(C)), (2, C, 9, 20))
    assert operators(graph) == {"depthwise_nchw": 1}
