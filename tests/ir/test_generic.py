"""Operators without a kernel are found, counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tvm_flow
from tvm_flow.ir.generic import generic_operators, remark
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.support.errors import CompileError

SHAPE = (1, 8, 10, 10)


class Net(nn.Module):
    """One layer, whose output is pooled."""

    example_input_shape = SHAPE

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y.mean((2, 3)) if y.ndim == 4 else y


class Products(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)
        return torch.softmax(flat @ flat.transpose(1, 2), -1)


def layer_node(op: str, x: tuple[int, ...], weight: tuple[int, ...], y: tuple[int, ...]) -> Node:
    weights = Node("const", [], weight, modules=("layer",))
    return Node(op, [Node("input", [], x), weights], y)


@pytest.mark.parametrize(
    ("node", "macs"),
    [
        (layer_node("relax.nn.conv2d", (1, 8, 10, 10), (12, 4, 3, 3), (1, 12, 10, 10)), 43200),
        (layer_node("relax.nn.conv2d_transpose", SHAPE, (8, 6, 3, 3), (1, 6, 21, 21)), 43200),
        (layer_node("relax.nn.conv2d_transpose", SHAPE, (8, 3, 2, 2), (1, 6, 20, 20)), 9600),
        (layer_node("relax.matmul", (8, 1, 10, 10), (1, 8, 10, 10), (8, 8, 10, 10)), 64000),
    ],
)
def test_macs_and_modules_of_what_has_no_kernel(node: Node, macs: int) -> None:
    graph = Graph([node.inputs[0]], [node])
    (found,) = generic_operators(graph, lambda _: False)
    assert found.macs == macs
    assert found.modules == ("layer",)
    (note,) = remark([found], 2 * macs)
    assert f"1 {found.operator} (layer): 50 % of the MACs" in note


class Waves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


def test_what_is_computed_by_plain_loops() -> None:
    report = tvm_flow.trace(Net(Waves()).eval())
    assert [operator.operator for operator in report.generic] == ["sin"]
    (note,) = report.notes
    assert "computes 1 sin" in note


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 10, 3, padding=1),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 12, 3, groups=2, padding=1),
        nn.Conv2d(8, 16, 3, groups=8),
        nn.Conv2d(8, 12, 3, dilation=2),
        nn.Conv2d(8, 12, 4, padding="same"),
        nn.Sequential(nn.Conv2d(8, 10, 1), nn.Hardswish(), nn.BatchNorm2d(10)),
        Products(),
        nn.MaxPool2d(2),
        nn.Sigmoid(),
    ],
)
def test_what_has_kernels_or_is_one_pass(layer: nn.Module) -> None:
    report = tvm_flow.trace(Net(layer.eval()).eval())
    assert report.generic == ()
    assert report.notes == ()


def test_strict(tmp_path: Path) -> None:
    net = Net(Waves()).eval()
    with pytest.raises(CompileError, match="no kernel of tvm-flow's computes 1 sin"):
        tvm_flow.compile(net, output=tmp_path / "b", strict=True)
    assert not (tmp_path / "b").exists()
    assert any("plain loops" in note for note in tvm_flow.compile(net, output=tmp_path / "b").notes)
