"""Spelt-out activations get a name, others do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.passes.nodes import act, binary, const, conv, given
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.common.name_activations import name_activations
from tvm_flow.schedules.operators.activations import parse, text_of


def clip(x: Node, low: float, high: float) -> Node:
    return Node("clip", [x], x.shape, {"low": low, "high": high})


def call(name: str, *inputs: Node) -> Node:
    shape = next(node.shape for node in inputs if node.op != "const")
    return Node(f"relax.{name}", list(inputs), shape)


def scaled(x: Node, factor: float) -> Node:
    return binary("multiply", x, const(factor))


def softplus(x: Node) -> Node:
    far = call("exp", call("negative", call("abs", x)))
    return binary("add", act(x), call("log", binary("add", far, const(1.0))))


def elu(x: Node) -> Node:
    below = binary("subtract", call("exp", clip(x, -np.inf, 0.0)), const(1.0))
    return call("where", call("greater", x, const(0.0)), x, scaled(below, 0.7))


def tanh_gelu(x: Node) -> Node:
    inner = binary("add", x, scaled(binary("multiply", x, binary("multiply", x, x)), 0.044715))
    turned = binary("add", call("tanh", scaled(inner, float(np.sqrt(2 / np.pi)))), const(1.0))
    return scaled(binary("multiply", x, turned), 0.5)


SPELT: dict[str, Callable[[Node], Node]] = {
    "clip:-1:1": lambda x: clip(x, -1, 1),
    "clip:-inf:65504": lambda x: clip(x, -np.inf, 65504),
    "clip:-3:inf": lambda x: call("maximum", x, const(-3.0)),
    "leakyrelu:0.1": lambda x: call("where", call("greater", x, const(0.0)), x, scaled(x, 0.1)),
    "leakyrelu:0.2": lambda x: call("maximum", scaled(x, 0.2), x),
    "elu:1:0.7": elu,
    "tanh": lambda x: call("tanh", x),
    "softplus": softplus,
    "mish": lambda x: binary("multiply", call("tanh", softplus(x)), x),
    "gelu_tanh": tanh_gelu,
    "silu:1.702": lambda x: binary("multiply", x, act(scaled(x, 1.702), "sigmoid")),
    "silu": lambda x: binary(
        "divide", x, binary("add", call("exp", call("negative", x)), const(1))
    ),
    "hardswish:0.2:0.5": lambda x: binary(
        "multiply", clip(binary("add", scaled(x, 0.2), const(0.5)), 0, 1), x
    ),
    "hardswish": lambda x: scaled(
        binary("multiply", x, clip(binary("add", x, const(3.0)), 0, 6)), 1 / 6
    ),
}


@pytest.mark.parametrize("text", SPELT)
def test_what_is_spelt_out_gets_its_name(text: str) -> None:
    x = given()
    made = conv(x)
    (end,) = name_activations(Graph([x], [SPELT[text](made)])).outputs
    assert (end.op, end.attrs, end.inputs) == ("act", {"kind": text}, [made])


@pytest.mark.parametrize(
    "make",
    [
        lambda x: binary("multiply", x, x),
        lambda x: scaled(x, 1.5),
        lambda x: call("exp", x),
        lambda x: binary("add", act(x), const(1.0)),
        lambda x: clip(clip(x, 1.0, 2.0), 3.0, 4.0),
        lambda x: binary("multiply", x, clip(binary("add", x, const(3.0)), 0, 5.9)),
        lambda x: binary("add", call("tanh", x), const(np.ones((8, 1, 1)))),
    ],
)
def test_other_functions_keep_theirs(make: Callable[[Node], Node]) -> None:
    x = given()
    graph = Graph([x], [make(conv(x))])
    text = graph.text()
    assert text.count("tanh") == name_activations(graph).text().count("kind=tanh")
    assert graph.outputs[0].op != "act"


def test_what_others_read_stays() -> None:
    x = given()
    made = conv(x)
    inner = clip(binary("add", scaled(made, 0.2), const(0.5)), 0, 1)
    for outputs in ([binary("multiply", made, inner), inner], [call("tanh", made), made]):
        graph = name_activations(Graph([x], outputs))
        assert "act" not in [node.op for node in graph.nodes()]


def test_texts_are_short_and_exact() -> None:
    assert text_of("leakyrelu", float(np.float32(0.1))) == "leakyrelu:0.1"
    assert text_of("clip", -np.inf, 1 / 3) == "clip:-inf:0.33333333"
    assert parse("clip:-inf:0.5") == ("clip", (-np.inf, 0.5))
    with pytest.raises(ValueError, match="no activation"):
        parse("clip")
    with pytest.raises(ValueError, match="no activation"):
        parse("relu:3")
