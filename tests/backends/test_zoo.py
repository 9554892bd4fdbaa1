"""Every network of the zoo, compiled for this machine, against PyTorch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.passes.networks import copies, imported, run
from tvm_flow.backends import CPU
from tvm_flow.models import NAMES, create
from tvm_flow.models.pconv import use_pconv_forward

TOLERANCE = 1e-4
#: one of every family but FasterNet and ShuffleNet, which other tests here have; the others differ
#: from them in widths and depths only
QUICK = ("resnet18", "pconv_resnet18", "mobilenet_v2", "mobilenet_v3_small")
#: networks all of whose splits, concats and shuffles can be folded away
WITHOUT_COPIES = ("fasternet", "shufflenet", "pconv_resnet18")


def compare(model: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """Compile, run, compare; and see that no copy is left where none is needed."""
    torch.manual_seed(1)
    x = torch.randn(shape)
    with torch.inference_mode():
        expected = model(x)
    graph = CPU.optimise(imported(model, shape))
    if name.startswith(WITHOUT_COPIES):
        assert copies(graph) == []
    (y,) = run(graph, x.numpy())
    error = (torch.from_numpy(y) - expected).abs().max() / expected.abs().max()
    assert error <= TOLERANCE


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES],
)
def test_small_images(name: str) -> None:
    compare(create(name), name, (1, 3, 64, 64))


@pytest.mark.parametrize(
    "name",
    [
        "fasternet_t0",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("shufflenet_v2_x1_0", "mobilenet_v2")),
    ],
)
def test_usual_images(name: str) -> None:
    compare(create(name), name, (1, 3, 224, 224))


@pytest.mark.parametrize(
    "name", ["fasternet_t0", pytest.param("pconv_resnet18", marks=pytest.mark.slow)]
)
def test_pconv_by_slice_assignment(name: str) -> None:
    compare(use_pconv_forward(create(name), "slicing"), name, (1, 3, 64, 64))


def test_odd_size_and_batch() -> None:
    compare(create("shufflenet_v2_x0_5"), "shufflenet_v2_x0_5", (3, 3, 97, 65))
