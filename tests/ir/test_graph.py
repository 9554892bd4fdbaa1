"""The graph itself: order, users, text, rewriting."""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, merged, only_user, rewrite

SHAPE = (1, 4, 2, 2)


def act(x: Node, kind: str = "relu", module: str = "") -> Node:
    return Node("act", [x], SHAPE, {"kind": kind}, modules=(module,) if module else ())


def add(*inputs: Node) -> Node:
    return Node("add", list(inputs), SHAPE)


def source() -> Node:
    return Node("input", [], SHAPE, name="x")


def test_producers_come_before_consumers_and_once() -> None:
    x = source()
    a, b = act(x), act(x, "gelu")
    y = add(add(a, b), a)
    order = Graph([x], [y, a]).nodes()
    assert len(order) == len({id(node) for node in order}) == 5
    place = {id(node): i for i, node in enumerate(order)}
    assert all(place[id(s)] < place[id(node)] for node in order for s in node.inputs)


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    x = node = source()
    for _ in range(5000):
        node = act(node)
    graph = Graph([x], [node])
    assert len(graph.nodes()) == 5001
    flat = rewrite(graph, lambda node, _: node.inputs[0] if node.op == "act" else None)
    assert flat.outputs == [x]


def test_users_count_every_use_and_the_output() -> None:
    x = source()
    a = act(x)
    y = add(a, a)
    users = Graph([x], [y, a]).users()
    assert users[id(a)] == [y, y, a]
    assert users[id(y)] == [y]
    assert only_user(a, users) is None  # used twice
    assert only_user(y, users) is None  # an output
    assert only_user(x, users) is a


def test_text_is_equal_for_equal_structure_only() -> None:
    def build(kind: str, weight: int = 3) -> Graph:
        x = source()
        w = {"weight": np.zeros((weight, 4), np.float32)}
        return Graph([x], [act(Node("conv2d", [x], SHAPE, {"pad": 1}, w), kind)])

    assert build("relu").text() == build("relu").text()
    assert build("relu").text() != build("gelu").text()
    assert build("relu").text() != build("relu", 5).text()
    assert build("relu").text() == (
        "%0 = input[]() <- () : 1x4x2x2\n"
        "%1 = conv2d[pad=1](weight[3, 4]) <- (%0) : 1x4x2x2\n"
        "%2 = act[kind=relu]() <- (%1) : 1x4x2x2\n"
        "return %2"
    )


def test_text_tells_sharing_from_copies() -> None:
    x = source()
    a = act(x)
    assert Graph([x], [add(a, a)]).text() != Graph([x], [add(act(x), act(x))]).text()


def test_rewrite_replaces_inputs_and_outputs() -> None:
    x = source()
    a = act(x)
    graph = Graph([x], [a, add(a, x)])

    def swap(node: Node, _users: object) -> Node | None:
        kind = node.attrs.get("kind")
        return act(node.inputs[0], "gelu") if kind == "relu" else None

    y = act(x, "gelu")
    assert rewrite(graph, swap).text() == Graph([x], [y, add(y, x)]).text()


def test_rewrite_goes_on_until_nothing_changes() -> None:
    x = source()
    ladder = {"relu": "gelu", "gelu": "silu", "silu": "sigmoid"}

    def step(node: Node, _users: object) -> Node | None:
        kind = ladder.get(node.attrs.get("kind", ""))
        return act(node.inputs[0], kind) if kind else None

    assert rewrite(Graph([x], [act(act(x))]), step).text() == Graph(
        [x], [act(act(x, "sigmoid"), "sigmoid")]
    ).text()  # fmt: skip


def test_rewrite_shows_a_rule_the_users_of_a_replacement() -> None:
    """A rule that fires in the same sweep must see that the new node has two users."""
    x = source()
    a = act(x)
    graph = Graph([x], [act(a, "silu"), act(a, "sigmoid")])
    seen: list[Node | None] = []

    def rule(node: Node, users: dict[int, list[Node]]) -> Node | None:
        kind = node.attrs.get("kind")
        if kind == "relu":
            return act(node.inputs[0], "gelu")
        if kind in ("silu", "sigmoid"):
            seen.append(only_user(node.inputs[0], users))
        return None

    rewrite(graph, rule)
    assert seen
    assert all(user is None for user in seen)


def test_modules_are_merged_in_order_without_repeats() -> None:
    x = source()
    assert merged(act(x, module="a"), act(x, module="b"), act(x, module="a")) == ("a", "b")


def test_bytes_depend_on_the_type() -> None:
    assert Node("input", [], (2, 3)).bytes == 24
    assert Node("input", [], (2, 3), dtype="int64").bytes == 48
