"""Lines and volumes become images, before the layout pass: a graph before, the one expected after;
and both sides compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.passes.nodes import act, affine, binary, const, conv, given, part, same
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.passes.common.as_images import as_images
from tvm_flow.passes.common.fold_affine import fold_affine
from tvm_flow.passes.common.plain_transposed import plain_transposed
from tvm_flow.passes.common.turn_tokens import turn_tokens
from tvm_flow.verify.evaluate import Evaluator

LINE, IMAGE = (1, 8, 6), (1, 8, 1, 6)
VOLUME, STACKED, PLANES = (1, 8, 2, 3, 4), (1, 8, 6, 4), (2, 8, 3, 4)


def view(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("reshape", [x], shape, {"shape": shape})


def grouped(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("regroup", [x], shape)


def line_conv(x: Node) -> Node:
    """As the importer leaves a 1-D convolution."""
    made = conv(view(x, (*x.shape[:2], 1, x.shape[2])), k=1)
    return view(made, (made.shape[0], made.shape[1], made.shape[3]))


def test_reshapes_between_convolutions_of_lines_meet() -> None:
    x = given(LINE)
    first = line_conv(x)
    between = act(affine(first, np.full(8, 2, "f"), np.ones(8, "f")))
    graph = as_images(Graph([x], [line_conv(between)]))
    image = first.inputs[0]
    kept = act(affine(image, np.full(8, 2, "f"), np.ones(8, "f")))
    same(graph, view(conv(kept, k=1), LINE))
    assert [node.op for node in fold_affine(graph).nodes()].count("affine") == 0


def test_a_residual_of_lines_shares_the_view_that_is_there() -> None:
    x = given(LINE)
    done = line_conv(x)
    same(as_images(Graph([x], [binary("add", done, x)])),
         view(binary("add", done.inputs[0], done.inputs[0].inputs[0]), LINE))  # fmt: skip


def test_what_has_no_image_stays() -> None:
    x, other = given(LINE), given(LINE)
    total = binary("add", line_conv(x), other)
    graph = Graph([x, other], [total])
    same(as_images(graph), total)


@pytest.mark.parametrize(("axis", "image_axis"), [(1, 1), (2, 3)])
def test_slices_of_lines(axis: int, image_axis: int) -> None:
    x = given(LINE)
    done = line_conv(x)
    cut = part(done, 1, 4, axis)
    same(as_images(Graph([x], [cut])), view(part(done.inputs[0], 1, 4, image_axis), cut.shape))


def test_slices_of_depth_are_rows() -> None:
    x = given(STACKED)
    cut = part(act(view(x, VOLUME)), 1, 2, 2)
    same(as_images(Graph([x], [cut])), view(part(act(x), 3, 6, 2), cut.shape))
    rows = part(view(x, VOLUME), 1, 2, 3)  # of every plane: no slice of the image
    same(as_images(Graph([x], [rows])), rows)


def test_constants_of_lines_are_constants_of_images() -> None:
    x = given(IMAGE)
    value = np.arange(8, dtype="f").reshape(8, 1)
    made = as_images(Graph([x], [binary("subtract", const(value[:, [0] * 6]), view(x, LINE))]))
    same(made, view(binary("subtract", const(value[None, :, None, [0] * 6]), x), LINE))


def planes_conv(x: Node) -> Node:
    """As the importer leaves a convolution of planes."""
    return grouped(conv(grouped(x, PLANES)), STACKED)


def test_what_follows_a_convolution_of_planes_is_computed_of_planes() -> None:
    x = given(STACKED)
    done = planes_conv(x)
    norm = affine(done, np.full(8, 2, "f"), np.ones(8, "f"))
    inner = affine(done.inputs[0], np.full(8, 2, "f"), np.ones(8, "f"))
    added = binary("add", inner, grouped(x, PLANES))
    same(as_images(Graph([x], [act(binary("add", norm, x))])), grouped(act(added), STACKED))


def test_of_two_convolutions_of_planes_none_moves_the_other_about() -> None:
    x = given(STACKED)
    total = binary("add", planes_conv(x), conv(x))
    assert as_images(Graph([x], [total])).text() == Graph([x], [total]).text()


def transposed(x: Node, k: int, s: int, p: int, size: int, **attrs: object) -> Node:
    """As imported."""
    full = {"strides": (s, s), "padding": (p, p), "dilation": (1, 1), "groups": 1, **attrs}
    weight = np.random.default_rng(1).standard_normal((5, 8 // int(str(full["groups"])), k, k))
    weights = {"weight": weight.astype("f"), "bias": np.ones(5, "f")}
    return Node("conv_transpose", [x], (1, 5, size, size), full, weights, ("up",))


@pytest.mark.parametrize(("p", "size"), [(0, 8), (1, 6), (2, 4), (1, 7)])
def test_transposed_convolutions_of_stride_1_are_plain(p: int, size: int) -> None:
    x = given()
    value = [torch.randn(x.shape)]
    before = Graph([x], [transposed(x, 3, 1, p, size)])
    (expected,) = Evaluator(before).run(value, double=True)
    after = plain_transposed(before)
    (made,) = after.outputs
    assert (made.op, made.modules) == ("conv2d", ("up",))
    (y,) = Evaluator(after).run(value, double=True)
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize(("s", "p", "size"), [(2, 0, 13), (1, 3, 2)])
def test_other_transposed_convolutions_stay(s: int, p: int, size: int) -> None:
    x = given()
    up = transposed(x, 3, s, p, size)
    same(plain_transposed(Graph([x], [up])), up)


def permuted(x: Node, *axes: int) -> Node:
    return Node("permute", [x], tuple(x.shape[axis] for axis in axes), {"axes": axes})


def test_images_change_layout_to_become_tokens_and_back() -> None:
    x = given((2, 8, 3, 4))
    tokens = act(permuted(view(x, (2, 8, 12)), 0, 2, 1), "gelu")
    back = view(permuted(tokens, 0, 2, 1), (2, 8, 3, 4))
    kept = act(view(permuted(x, 0, 2, 3, 1), (2, 12, 8)), "gelu")
    same(turn_tokens(Graph([x], [back])), permuted(view(kept, (2, 3, 4, 8)), 0, 3, 1, 2))


def test_other_turned_matrices_stay() -> None:
    x = given((2, 8, 12))
    turned = act(permuted(x, 0, 2, 1))
    same(turn_tokens(Graph([x], [turned])), turned)
    image = given((2, 4, 3, 8))
    mixed = permuted(view(image, (2, 12, 8)), 0, 2, 1)  # its channels are not an axis of their own
    same(turn_tokens(Graph([image], [mixed])), mixed)
