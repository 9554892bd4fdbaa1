"""NaN inside a network reaches its outputs also through TVM's own operators."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.verify.networks import Computes, imported
from tvm_flow.verify.evaluate import Evaluator

SHAPE = (2, 4, 6, 5)


def every(x: Tensor) -> tuple[Tensor, ...]:
    other = x.flip(3)
    return (
        torch.maximum(x, other),
        torch.minimum(x, other),
        x.clamp(-1.0, 1.0),
        x.clamp_min(0.5),
        x.softmax(3),
        F.relu(x),
        F.leaky_relu(x),
        F.hardtanh(x),
        F.max_pool3d(x[None], 2),
        F.max_pool2d(x, 3, 1, 1),
        F.silu(x),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_operators_pass_it_on_as_pytorch_does(value: float) -> None:
    x = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) - 0.5
    for place in ((0, 1, 2, 1), (1, 3, 5, 4)):
        x[place] = value
    made = Evaluator(imported(Computes(every), SHAPE).graph).run([x])
    for number, (actual, expected) in enumerate(zip(made, every(x), strict=True)):
        assert torch.equal(actual.isnan(), expected.isnan()), number
        assert torch.equal(actual.isposinf(), expected.isposinf()), number
