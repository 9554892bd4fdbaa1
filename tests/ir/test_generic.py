"""Operators without a kernel are found, counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tvm_flow
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


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.ConvTranspose2d(8, 6, 3, stride=2), 8 * 100 * 6 * 9),
        (nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2), 8 * 100 * 3 * 4),
        (Products(), 8 * 8 * 100),
    ],
)
def test_what_is_computed_by_plain_loops(layer: nn.Module, macs: int) -> None:
    report = tvm_flow.trace(Net(layer.eval()).eval())
    assert sum(operator.macs for operator in report.generic) == macs
    assert report.macs >= macs
    (note,) = report.notes
    assert report.generic[0].operator in note
    if next(layer.parameters(), None) is not None:
        assert report.generic[0].modules == ("layer",)
        assert "(layer)" in note


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
        nn.MaxPool2d(2),
        nn.Sigmoid(),
    ],
)
def test_what_has_kernels_or_is_one_pass(layer: nn.Module) -> None:
    report = tvm_flow.trace(Net(layer.eval()).eval())
    assert report.generic == ()
    assert report.notes == ()


def test_strict(tmp_path: Path) -> None:
    net = Net(nn.ConvTranspose2d(8, 12, 3, groups=2)).eval()
    with pytest.raises(CompileError, match=r"no kernel of tvm-flow's computes 1 conv2d.*layer"):
        tvm_flow.compile(net, output=tmp_path / "b", strict=True)
    assert not (tmp_path / "b").exists()
    assert any("plain loops" in note for note in tvm_flow.compile(net, output=tmp_path / "b").notes)
