"""Lines and volumes as images: what is computed on 1-D and 3-D data runs on 4-D tensors.

The importer makes a 2-D operator of every convolution and pooling of lines, [n, c, w] as
[n, c, 1, w], and an operator on stacked slices of those of volumes, [n, c, d, h, w] as
[n, c, d * h, w], with a reshape before and after it. Here the element-wise operators, slices and
concatenations between them move to the 4-D side too, so that the reshapes meet and cancel, and
later passes see the chains that they know from images.
"""

from __future__ import annotations

import numpy as np

from tvm_flow.ir.graph import Graph, Node, rewrite
from tvm_flow.passes.common.elementwise import ELEMENTWISE, FOLLOWING
from tvm_flow.passes.common.simplify import simplify

Users = dict[int, list[Node]]
Shape = tuple[int, ...]

#: What convolutions absorb is moved to them.
_TAKES_IN = {"conv2d", "affine", "act", "add"}


def as_images(graph: Graph) -> Graph:
    """Move the reshapes behind all operators that may come before them."""
    return simplify(rewrite(graph, _rule))


def image_shape(shape: Shape) -> Shape:
    """Of a line [n, c, w] or a volume [n, c, d, h, w] as an image."""
    n, c, *grid = shape
    return (n, c, 1, grid[0]) if len(grid) == 1 else (n, c, grid[0] * grid[1], grid[2])


def _rule(node: Node, users: Users) -> Node | None:
    return _behind_views(node, users) or _behind_regroup(node)


def _behind_regroup(node: Node) -> Node | None:
    """f(regroup(x)) = regroup(f(x)): what follows the convolution of planes is computed of planes,
    for the convolution to take it in."""
    if node.op == "regroup" and node.inputs[0].op == "regroup":
        return _regrouped(node.inputs[0].inputs[0], node.shape)
    if node.op not in ELEMENTWISE:
        return None
    found = [x for x in node.inputs if x.op == "regroup" and x.inputs[0].op in _TAKES_IN]
    others = [x for x in node.inputs if x not in found]
    if len(found) != 1 or (others and not _joins(found[0].inputs[0], others)):
        return None
    inner = found[0].inputs[0]
    if any(x.shape != node.shape and not _per_channel(x) for x in others):
        return None
    inputs = [
        inner if x is found[0] else x if x.op == "const" else _regrouped(x, inner.shape)
        for x in node.inputs
    ]
    made = Node(node.op, inputs, inner.shape, node.attrs, node.weights, node.modules, node.dtype)
    return _regrouped(made, node.shape)


def _joins(inner: Node, others: list[Node]) -> bool:
    """Whether a convolution's result is the one to take others in, and none of them is."""
    sums = {"conv2d", "affine"}
    return inner.op in sums and not any(x.op in sums for x in others)


def _per_channel(node: Node) -> bool:
    """A constant that is the same for all pixels."""
    shape = node.shape
    return node.op == "const" and (node.weights["value"].size == 1 or (
        len(shape) in (3, 4) and shape[-2:] == (1, 1) and shape[:-3] in ((), (1,))
    ))  # fmt: skip


def _regrouped(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else Node("regroup", [x], shape, dtype=x.dtype)


def _behind_views(node: Node, users: Users) -> Node | None:
    if node.op == "reshape" and node.inputs[0].op == "reshape":
        return _reshaped(node.inputs[0].inputs[0], node.shape)
    moves = node.op in ELEMENTWISE | FOLLOWING or node.op in ("concat", "slice")
    if not moves or len(node.shape) not in (3, 5) or not any(map(_image, node.inputs)):
        return None
    attrs = _attributes(node)
    inputs = [_as_image(source, len(node.shape), users) for source in node.inputs]
    if attrs is None or None in inputs:
        return None
    sources = [source for source in inputs if source is not None]
    shape = image_shape(node.shape)
    made = Node(node.op, sources, shape, attrs, node.weights, node.modules, node.dtype)
    return _reshaped(made, node.shape)


def _reshaped(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else Node("reshape", [x], shape, {"shape": shape}, dtype=x.dtype)


def _image(node: Node) -> Node | None:
    """The image of which a line or volume is a view."""
    if node.op != "reshape" or len(node.shape) not in (3, 5):
        return None
    source = node.inputs[0]
    return source if source.shape == image_shape(node.shape) else None


def _as_image(node: Node, rank: int, users: Users) -> Node | None:
    """What is to take the place of an input that is a line or a volume: its image, where it has
    one, or a constant of the image's rank."""
    if node.op == "const":
        return _constant(node, rank)
    found = _image(node)
    if found is not None or len(node.shape) != rank:
        return found
    shape = image_shape(node.shape)
    for user in users.get(id(node), []):  # another operator's view of the same tensor
        if user.op == "reshape" and user.shape == shape:
            return user
    return None


def _constant(node: Node, rank: int) -> Node | None:
    """The same numbers, to be repeated over an image as they were over lines or volumes."""
    value = node.weights["value"]
    if value.size == 1:
        return node
    if value.ndim > rank:
        return None
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    if rank == 5 and value.shape[2:4] != (1, 1):
        return None
    shape = image_shape(value.shape)
    return Node("const", [], shape, weights={"value": np.ascontiguousarray(value.reshape(shape))},
                modules=node.modules, dtype=node.dtype)  # fmt: skip


def _attributes(node: Node) -> dict[str, object] | None:
    """Those of a node, its axis being one of an image; ``None`` where an image has none such."""
    if "axis" not in node.attrs:
        return node.attrs
    axis, rank = node.attrs["axis"], len(node.shape)
    moved = {0: 0, 1: 1, rank - 1: 3, rank - 3: 2}.get(axis)
    attrs = {**node.attrs, "axis": moved}
    if moved == 2 and node.op == "slice":  # of depth: so many rows
        rows = node.shape[3]
        attrs |= {name: attrs[name] * rows for name in ("start", "stop")}
    return None if moved is None else attrs
