"""If, Loop and Scan whose course is known when the model is imported: written out, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

_MOST = 8192  # nodes that one may become

Known = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


def write_out(graph: onnx.GraphProto, known: Known, shapes: Shapes, opset: int) -> bool:
    """Replace in place what can be; whether there was anything."""
    writer = _Writer(known, shapes, opset)
    made = [writer.written(node) for node in graph.node]
    if not any(made):
        return False
    nodes = [new for old, news in zip(graph.node, made, strict=True) for new in news or [old]]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    return True


def _graph_of(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    return next(a.g for a in node.attribute if a.name == name)


def _ints(node: onnx.NodeProto, name: str, count: int) -> list[int]:
    """Of an attribute; zeros by default."""
    return next((list(a.ints) for a in node.attribute if a.name == name), [0] * count)


@dataclass
class _Writer:
    """The nodes that a node becomes, or ``None`` for one that stays."""

    known: Known
    shapes: Shapes
    opset: int

    def written(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        kinds = {"If": self._if, "Loop": self._loop, "Scan": self._scan}
        kind = kinds.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        return None if kind is None else kind(node)

    def _if(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        condition = self.known.get(node.input[0])
        if condition is None:
            return None
        chosen = "then_branch" if bool(np.asarray(condition).reshape(-1)[0]) else "else_branch"
        body = _Body(_graph_of(node, chosen), node.output[0], 0)
        body.write([])
        return [*body.nodes, *_same(body.outputs, node.output)]

    def _loop(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        body = _graph_of(node, "body")
        count = self.known.get(node.input[0]) if node.input[0] else None
        going = node.input[1] if len(node.input) > 1 else ""
        if count is None or not self._always(going, body):
            return None
        trips = int(np.asarray(count).reshape(-1)[0])
        if not 0 < trips * len(body.node) <= _MOST:
            return None
        states, rows, nodes = list(node.input[2:]), [], []
        for step in range(trips):
            index = _constant(f"{node.output[0]}_step_{step}", np.int64(step))
            nodes.append(index)
            turn = _Body(body, node.output[0], step)
            turn.write([index.output[0], going, *states])
            nodes += turn.nodes
            states = turn.outputs[1 : 1 + len(states)]
            rows.append(turn.outputs[1 + len(states) :])
        return [*nodes, *_same(states, node.output), *self._stacked(node, rows, len(states))]

    def _always(self, going: str, body: onnx.GraphProto) -> bool:
        """Whether a loop's condition stays true."""
        if going and not np.asarray(self.known.get(going, False)).all():
            return False
        name = body.output[0].name
        makers = {output: node for node in body.node for output in node.output}
        while name in makers and makers[name].op_type == "Identity":
            name = makers[name].input[0]
        maker = makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            return bool(numpy_helper.to_array(maker.attribute[0].t).all())
        return name == body.input[1].name

    def _scan(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        body = _graph_of(node, "body")
        count = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
        states, given = list(node.input[:-count]), list(node.input[-count:])
        if self.opset < 9 or any(name not in self.shapes for name in given):
            return None
        axes = _ints(node, "scan_input_axes", count)
        trips = self.shapes[given[0]][axes[0]]
        if not 0 < trips * len(body.node) <= _MOST:
            return None
        turned, rows, nodes = _ints(node, "scan_input_directions", count), [], []
        for step in range(trips):
            parts = []
            for number, (name, axis, back) in enumerate(zip(given, axes, turned, strict=True)):
                place = f"{node.output[0]}_part_{number}_{step}"
                index = _constant(f"{place}_at", np.int64(trips - 1 - step if back else step))
                nodes += [index, helper.make_node(
                    "Gather", [name, index.output[0]], [place], place, axis=axis
                )]  # fmt: skip
                parts.append(place)
            turn = _Body(body, node.output[0], step)
            turn.write([*states, *parts])
            nodes += turn.nodes
            states = turn.outputs[: len(states)]
            rows.append(turn.outputs[len(states) :])
        return [*nodes, *_same(states, node.output), *self._stacked(node, rows, len(states))]

    def _stacked(
        self, node: onnx.NodeProto, rows: list[list[str]], first: int
    ) -> list[onnx.NodeProto]:
        """Results that have an element per step, behind the ``first`` others."""
        names = list(node.output[first:])
        axes = _ints(node, "scan_output_axes", len(names))
        turned = _ints(node, "scan_output_directions", len(names))
        nodes = []
        for name, axis, back, column in zip(names, axes, turned, zip(*rows, strict=True),
                                            strict=True):  # fmt: skip
            if not name:
                continue
            parts = [self._with_axis(part, f"{name}_{i}", axis) for i, part in enumerate(column)]
            nodes += [made for part in parts for made in part]
            ends = [part[-1].output[0] for part in parts]
            nodes.append(
                helper.make_node("Concat", ends[::-1] if back else ends, [name], name, axis=axis)
            )
        return nodes

    def _with_axis(self, part: str, name: str, axis: int) -> list[onnx.NodeProto]:
        if self.opset < 13:
            return [helper.make_node("Unsqueeze", [part], [name], name, axes=[axis])]
        place = _constant(f"{name}_axis", np.array([axis]))
        return [place, helper.make_node("Unsqueeze", [part, place.output[0]], [name], name)]


class _Body:
    """One copy of a graph, with names of its own."""

    def __init__(self, graph: onnx.GraphProto, owner: str, step: int) -> None:
        self._graph, self._prefix = graph, f"{owner}_{step}_"
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[str] = []

    def write(self, given: Sequence[str]) -> None:
        """``given``: names for its inputs, in order."""
        names = {value.name: name for value, name in zip(self._graph.input, given, strict=False)}
        for tensor in self._graph.initializer:
            names[tensor.name] = self._prefix + tensor.name
            self.nodes.append(_constant(names[tensor.name], numpy_helper.to_array(tensor)))
        for node in self._graph.node:
            names |= {output: self._prefix + output for output in node.output if output}
        self.nodes += [_renamed(node, names, self._prefix) for node in self._graph.node]
        self.outputs = [names.get(value.name, value.name) for value in self._graph.output]


def _renamed(node: onnx.NodeProto, names: Mapping[str, str], prefix: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = prefix + node.name
    _rename(copy, names)
    return copy


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """In place; graphs within a node see the names around them."""
    for values in (node.input, node.output):
        values[:] = [names.get(name, name) for name in values]
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _rename(inner, names)
        for value in attribute.g.output:
            value.name = names.get(value.name, value.name)


def _constant(name: str, value: np.ndarray | np.generic) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], name,
                            value=numpy_helper.from_array(np.asarray(value)))  # fmt: skip


def _same(values: Sequence[str], names: Sequence[str]) -> list[onnx.NodeProto]:
    """Further names for values."""
    return [
        helper.make_node("Identity", [value], [name], name)
        for value, name in zip(values, names, strict=False)
        if name
    ]
