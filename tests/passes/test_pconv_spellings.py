"""Every way to write a PConv in PyTorch ends as the same one operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.passes.networks import Snippet, check, copies, imported, operators
from tvm_flow.passes.common.recognise_pconv import recognise_pconv
from tvm_flow.passes.common.simplify import simplify

Body = Callable[[Any, Tensor], Tensor]
SHAPE, CC = (1, 40, 7, 7), 10


def split_cat(m: Any, x: Tensor) -> Tensor:
    head, tail = torch.split(x, [CC, x.shape[1] - CC], dim=1)
    return torch.cat((m.conv(head), tail), 1)


def split_size(m: Any, x: Tensor) -> Tensor:
    head, *rest = x.split(CC, dim=1)
    return torch.cat([m.conv(head), *rest], dim=1)


def chunk(m: Any, x: Tensor) -> Tensor:
    head, *rest = x.chunk(4, dim=-3)
    return torch.cat([m.conv(head), *rest], dim=-3)


def tensor_split(m: Any, x: Tensor) -> Tensor:
    head, tail = torch.tensor_split(x, (CC,), dim=1)
    return torch.cat([m.conv(head), tail], 1)


def narrow(m: Any, x: Tensor) -> Tensor:
    head, tail = x.narrow(1, 0, CC), x.narrow(1, CC, x.shape[1] - CC)
    return torch.cat([m.conv(head), tail], 1)


def slicing(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.conv(x[:, :CC]), x[:, CC:]], 1)


def slicing_all_axes(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.conv(x[:, 0:CC, :, :]), x[:, CC:, ...]], 1)


def negative_slicing(m: Any, x: Tensor) -> Tensor:
    return torch.cat([m.conv(x[:, : CC - 40]), x[:, CC - 40 :]], 1)


def slice_of_slice(m: Any, x: Tensor) -> Tensor:
    half, other = x.chunk(2, 1)
    return torch.cat([m.conv(half[:, :CC]), half[:, CC:], other], 1)


def assignment(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :CC] = m.conv(x[:, :CC])
    return y


def assignment_in_place(m: Any, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :CC, :, :] = m.conv(x[:, :CC, :, :])
    return x


def copy_into(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y.narrow(1, 0, CC).copy_(m.conv(x.narrow(1, 0, CC)))
    return y


def concat_into_empty(m: Any, x: Tensor) -> Tensor:
    return torch.concat(tensors=[m.conv(x[:, :CC].contiguous()), x[:, CC:].contiguous()], dim=1)


SPELLINGS = (
    split_cat, split_size, chunk, tensor_split, narrow, slicing, slicing_all_axes,
    negative_slicing, slice_of_slice, assignment, assignment_in_place, copy_into,
    concat_into_empty,
)  # fmt: skip


def pconv(body: Body, k: int = 3, *, bias: bool = False) -> Snippet:
    return Snippet(body, conv=nn.Conv2d(CC, CC, k, padding=k // 2, bias=bias))


@pytest.mark.parametrize("body", SPELLINGS, ids=lambda body: body.__name__)
def test_every_spelling_is_recognised(body: Body) -> None:
    found = operators(recognise_pconv(simplify(imported(pconv(body), SHAPE))))
    assert found == {"pconv": 1}


#: One of each kind: split, slices, written into, copied into, concatenated. The others of a kind
#: are recognised as the same operator (above).
QUICK = (split_cat, slicing, assignment, copy_into, concat_into_empty)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body, id=body.__name__, marks=[] if body in QUICK else [pytest.mark.slow])
        for body in SPELLINGS
    ],
)
def test_every_spelling_compiles_to_one_kernel(body: Body) -> None:
    module = Snippet(
        lambda m, x: m.after(body(m, m.before(x))),
        before=nn.Conv2d(3, 40, 1),
        conv=nn.Conv2d(CC, CC, 3, padding=1, bias=False),
        after=nn.Conv2d(40, 20, 1),
    )
    graph = check(module, (1, 3, 7, 7))
    assert operators(graph).get("pconv_pointwise") == 1
    assert sum(count for op, count in operators(graph).items() if op.startswith("pconv")) == 1
    assert copies(graph) == ["permute"]  # of the output, to NCHW


@pytest.mark.parametrize(("k", "bias"), [(1, False), (3, True), (5, False), (7, True)])
def test_kernel_sizes_and_bias(k: int, bias: bool) -> None:
    graph = check(pconv(split_cat, k, bias=bias), (3, 40, 9, 5))
    assert operators(graph)["pconv"] == 1


def middle_slice(m: Any, x: Tensor) -> Tensor:
    return torch.cat([x[:, :7], m.conv(x[:, 7 : 7 + CC]), x[:, 7 + CC :]], 1)


def last_slice_assigned(m: Any, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, -CC:] = torch.relu(m.conv(x[:, -CC:]))
    return y


def activated(m: Any, x: Tensor) -> Tensor:
    head, tail = torch.split(x, [CC, x.shape[1] - CC], dim=1)
    return torch.cat((F.silu(m.conv(head)), tail), 1)


@pytest.mark.parametrize("body", [middle_slice, last_slice_assigned, activated, split_cat])
def test_variants_are_one_kernel_with_what_follows(body: Body) -> None:
    module = Snippet(
        lambda m, x: m.after(body(m, x)),
        conv=nn.Conv2d(CC, CC, 3, padding=2, dilation=2),
        after=nn.Sequential(nn.Conv2d(40, 20, 1), nn.ReLU()),
    )
    assert operators(check(module, SHAPE, "NHWC")) == {"pconv_pointwise": 1}


def test_two_pconvs_in_a_row() -> None:
    convs = {"one": nn.Conv2d(10, 10, 3, padding=1), "two": nn.Conv2d(10, 10, 3, padding=1)}

    def body(m: Any, x: Tensor) -> Tensor:
        x = torch.cat([m.one(x[:, :CC]), x[:, CC:]], 1)
        y = x.clone()
        y[:, :CC] = m.two(y[:, :CC])
        return y

    assert operators(check(Snippet(body, **convs), SHAPE))["pconv"] == 2
