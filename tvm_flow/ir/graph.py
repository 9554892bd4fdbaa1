"""The graph the passes work on: plain nodes with numpy weights.

Relax holds every tensor program; the networks here need far less. A :class:`Node` has one output,
its weights by name, static attributes, and the PyTorch modules it stands for, which Relax forgets.
What a pass has no name for stays a ``relax.*`` node that keeps its original Relax call and is
emitted unchanged, so that any importable model compiles.

Vocabulary (4-D tensors are NCHW until the layout pass, NHWC after it):

  input; const                        ``value`` weight
  conv2d                              ``weight`` OIHW, ``bias``; strides, padding (top, left,
                                      bottom, right), groups, dilation. From the layout pass on
                                      it and ``depthwise`` have the parameters of their problems,
                                      and a ``layout``; with ``post`` also ``post_scale`` and
                                      ``post_shift``, for after the activation
  conv_transpose                      ``weight`` [co, ci / groups, kh, kw], ``bias``; strides,
                                      padding (rows and columns cut off: top, left), dilation,
                                      groups; the output's size is the node's shape
  conv3d                              ``weight`` OIDHW, ``bias``; of volumes with their planes one
                                      below the other, ``depth`` of them; strides, padding (front,
                                      top, left), dilation, groups
  resize                              method, mode, rounding, as in ``schedules.operators.resize``
  regroup                             the same pixels in the same order as other images: the rows
                                      of n images as those of fewer or more
  dense                               ``weight`` [out, in], ``bias``; on the last axis
  affine                              ``scale``, ``shift`` per channel: a batch norm that nothing
                                      could absorb
  act                                 kind, a text of ``schedules.operators.activations``
  add, multiply, concat, slice        axis, start, stop
  slice_scatter                       inputs x, update; axis, start, stop
  reshape, permute                    shape; axes
  max_pool, avg_pool                  kernel, strides, padding, maybe dilation
  global_pool                         keeps 4-D
  pconv, channel_shuffle, concat_shuffle, and the fused operators of the later passes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import NCHW

Array = np.ndarray


@dataclass(eq=False)
class Node:
    """One operator with one output of ``shape`` (fp32 unless ``dtype`` says otherwise)."""

    op: str
    inputs: list[Node]
    shape: tuple[int, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    dtype: str = FLOAT32.value
    name: str = ""

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape)) * self.element_bytes

    @property
    def element_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize

    def describe(self) -> str:
        """Operator and attributes on one line, for listings and structural tests."""
        shown = {k: v for k, v in sorted(self.attrs.items()) if k != "call"}
        attrs = ", ".join(f"{k}={v}" for k, v in shown.items())
        weights = ", ".join(f"{k}{list(w.shape)}" for k, w in sorted(self.weights.items()))
        return f"{self.op}[{attrs}]({weights})"


@dataclass
class Graph:
    """Inputs and outputs; the nodes are whatever the outputs reach. ``layout`` is the order of its
    4-D tensors where an operator has a channel axis and does not say which. ``output_names``: as
    many as outputs, or none."""

    inputs: list[Node]
    outputs: list[Node]
    name: str = "model"
    layout: str = NCHW
    output_names: tuple[str, ...] = ()

    def nodes(self) -> list[Node]:
        """All reachable nodes, producers before consumers."""
        order: list[Node] = []
        seen: set[int] = set()
        stack: list[tuple[Node, bool]] = [(node, False) for node in reversed(self.outputs)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((source, False) for source in reversed(node.inputs))
        return order

    def users(self) -> dict[int, list[Node]]:
        """Consumers of each node by ``id``; an output of the graph counts as a user of itself."""
        found: dict[int, list[Node]] = {}
        for node in self.nodes():
            for source in node.inputs:
                found.setdefault(id(source), []).append(node)
        for node in self.outputs:
            found.setdefault(id(node), []).append(node)
        return found

    def text(self) -> str:
        """One line per node with its inputs by number: equal text means equal structure."""
        number = {id(node): index for index, node in enumerate(self.nodes())}
        lines = []
        for node in self.nodes():
            sources = ", ".join(f"%{number[id(source)]}" for source in node.inputs)
            shape = "x".join(map(str, node.shape))
            lines.append(f"%{number[id(node)]} = {node.describe()} <- ({sources}) : {shape}")
        lines.append("return " + ", ".join(f"%{number[id(node)]}" for node in self.outputs))
        return "\n".join(lines)


Rule = Callable[[Node, dict[int, list[Node]]], Node | None]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """Apply ``rule`` to every node in order until nothing changes.

    The rule gets a node and the users of all nodes, and returns the node to put in its place, or
    ``None`` to leave it. Consumers are rewired in place.
    """
    changed = True
    while changed:
        changed = False
        users = graph.users()
        replaced: dict[int, Node] = {}
        for node in graph.nodes():
            node.inputs = [_final(replaced, source) for source in node.inputs]
            new = rule(node, users)
            if new is not None and new is not node:
                replaced[id(node)] = new
                users.setdefault(id(new), []).extend(users.get(id(node), []))
                changed = True
        graph.outputs = [_final(replaced, node) for node in graph.outputs]
    return graph


def _final(replaced: dict[int, Node], node: Node) -> Node:
    while id(node) in replaced:
        node = replaced[id(node)]
    return node


def only_user(node: Node, users: dict[int, list[Node]]) -> Node | None:
    """The single consumer of ``node``, or ``None``."""
    found = users.get(id(node), [])
    return found[0] if len(found) == 1 and found[0] is not node else None


def merged(*nodes: Node) -> tuple[str, ...]:
    """Module paths of several nodes, in order, without repeats."""
    return unique(path for node in nodes for path in node.modules)


def unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
