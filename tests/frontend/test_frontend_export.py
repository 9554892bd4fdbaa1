"""Export and import: the graph computes what PyTorch does, or one line says what stands in the way.

Graphs are computed node by node (``graph_eval``), so nothing here depends on passes or kernels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.frontend.graph_eval import evaluate
from tests.frontend.user_models import Returns
from tvm_flow import models
from tvm_flow.frontend.export import to_graph
from tvm_flow.frontend.model import from_module, load
from tvm_flow.ir.graph import Graph
from tvm_flow.models.pconv import PConvBottleneck, use_pconv_forward
from tvm_flow.support.errors import ImportUnsupportedError, ModelError

IMAGE = (1, 3, 64, 64)
FEATURES = (1, 8, 10, 12)
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "models.py"
#: one of every family; tests/backends/test_zoo.py compiles and runs more of them
QUICK = ("fasternet_t0", "shufflenet_v2_x0_5", "pconv_resnet18", "mobilenet_v3_small")


def check(module: nn.Module, shape: tuple[int, ...], tolerance: float = 1e-5) -> Graph:
    """Import ``module`` and compare every output with PyTorch's; returns the graph."""
    model = from_module(module, "model", input_shape=shape)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    graph = to_graph(model)
    want, got = model.run(x), evaluate(graph, x)
    assert len(want) == len(got)
    for a, b in zip(want, got, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(1.0, np.abs(a).max()))
    return graph


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes())


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n not in QUICK else []) for n in models.NAMES],
)
def test_zoo(name: str) -> None:
    graph = check(models.create(name), IMAGE)
    found = ops(graph)
    assert not any(op.startswith("relax.") for op in found), found
    assert [node.shape for node in graph.inputs] == [IMAGE]
    assert [node.shape for node in graph.outputs] == [(1, 1000)]


@pytest.mark.parametrize("name", ["fasternet_digits", "shufflenet_digits"])
def test_digits(name: str) -> None:
    module = load(f"{DIGITS}:{name}").module
    assert module is not None
    check(module, (3, 1, 32, 32))


def test_module_paths_are_kept() -> None:
    graph = to_graph(load("fasternet_t0", input_shape=IMAGE))
    module = load("fasternet_t0", input_shape=IMAGE).module
    assert module is not None
    known = dict(module.named_modules())
    convolutions = [node for node in graph.nodes() if node.op == "conv2d"]
    assert len(convolutions) == sum(isinstance(m, nn.Conv2d) for m in known.values())
    for node in convolutions:
        (path,) = node.modules
        layer = known[path]
        assert isinstance(layer, nn.Conv2d)
        np.testing.assert_array_equal(node.weights["weight"], layer.weight.detach().numpy())


@pytest.mark.parametrize("spelling", ["split_cat", "slicing"])
def test_pconv_spellings(spelling: str) -> None:
    block = PConvBottleneck(16, act=nn.GELU)
    graph = check(use_pconv_forward(block, spelling), (1, 16, 7, 7))  # type: ignore[arg-type]
    assert ops(graph)["concat" if spelling == "split_cat" else "slice_scatter"] == 1


def test_a_scatter_over_a_whole_axis_is_what_it_writes() -> None:
    """PyTorch before 2.9 puts one around ``x[:, a:b] = u``."""
    graph = check(Returns(lambda x: torch.slice_scatter(x, x * 2, 0, 0, 1)), (1, 8, 10, 12))
    assert ops(graph)["slice_scatter"] == 0


PLAIN: dict[str, Callable[[Tensor], object]] = {
    "slice from before the start": lambda x: x[:, -10:] + 1,
    "slices": lambda x: x[:, 2:, -3:, :-2] * 2,
    "strided slice": lambda x: x[:, ::2],
    "uneven chunks": lambda x: torch.cat(x.chunk(3, 1)[::-1], 1),
    "tensor_split": lambda x: x.tensor_split(3, dim=1),
    "channel shuffle": lambda x: x.view(1, 2, 4, 10, 12).transpose(1, 2).reshape(1, 8, 10, 12),
    "assignment from the end": lambda x: _assign(x, slice(-3, None)),
    "in place": lambda x: (x + 0).add_(1).mul_(2),
    "ceil mode": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "padding not counted": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "dilated pool": lambda x: F.max_pool2d(x, 2, 2, dilation=2),
    "mean": lambda x: x.mean((-1, -2), keepdim=True),
    "mean of channels": lambda x: x.mean(1),
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "scalars": lambda x: 1 - (x * 3 + 1) / 2,
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "asymmetric padding": lambda x: F.pad(x, (1, 2, 0, 1), value=1.5),
    "layer norm": lambda x: F.layer_norm(x, (12,)),
    "integers": lambda x: torch.cat([(x > 0).int(), F.relu((x * 9).int())], 1),
    "upsample": lambda x: F.interpolate(x, scale_factor=2),
    "clip of integers": lambda x: (x * 9).int().clamp(-2, 3),
    "outputs in order": lambda x: (x + 2, x, x + 1),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "add scaled": lambda x: torch.add(x, x, alpha=3),
    "subtract scaled": lambda x: torch.sub(x, x * x, alpha=2),
    "selu": F.selu,
    "pool with a divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, divisor_override=3),
    "antialias": lambda x: F.interpolate(x, size=(5, 17), mode="bilinear", antialias=True),
    "nearest": lambda x: F.interpolate(x, size=(15, 17)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x, scale_factor=1.3, mode="bicubic"),
    "pool and its places": lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
    "adaptive pool": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "two results": lambda x: (*x.flatten(1).topk(3), *x.sort(2, True), *x.max(1)),
    "written to places": lambda x: _assign(x, [0, -1, -3]),
    "scattered": lambda x: x.scatter_add(1, x.argmax(1, keepdim=True), x),
}


def _assign(x: Tensor, where: slice | list[int]) -> Tensor:
    y = x.clone()
    y[:, where] = x[:, :3] * 2
    return y


@pytest.mark.parametrize("name", PLAIN)
def test_operators(name: str) -> None:
    check(Returns(PLAIN[name]), FEATURES)


LAYERS: list[nn.Module] = [
    nn.Conv2d(8, 8, 3, padding="same"),
    nn.Conv2d(8, 4, 3, stride=2, dilation=2, groups=4),
    nn.BatchNorm2d(8, affine=False),
    nn.BatchNorm2d(8, track_running_stats=False),
    nn.Linear(12, 5),
    nn.LayerNorm(12),
    nn.PReLU(8),
    nn.Sequential(nn.Flatten(), nn.Linear(960, 3, bias=False)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers(layer: nn.Module) -> None:
    check(nn.Sequential(layer), FEATURES)


def test_non_persistent_buffer_and_tensor_constant() -> None:
    check(_Constants(), FEATURES)


class _Constants(nn.Module):
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.arange(8.0).reshape(1, 8, 1, 1), persistent=False)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + torch.tensor([1.0, 2.0, 3.0]).sum()


def test_weights_that_are_computed_are_folded() -> None:
    graph = check(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 4, 3)), FEATURES)
    assert set(ops(graph)) <= {"input", "conv2d", "affine", "add", "const"}


def test_a_mask_may_be_infinite() -> None:
    class Masked(nn.Module):
        mask: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((12, 12), -torch.inf).triu(1))

        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x[..., :12], x, x[..., 1:], self.mask[:10, :10])

    check(Masked(), FEATURES)


def refused(module: nn.Module, kind: type[ModelError]) -> str:
    with pytest.raises(kind) as caught:
        to_graph(from_module(module, "model", input_shape=FEATURES))
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.fix
    return text


class _Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft(x).real  # the line the error names


class _Nested(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(8, 8, 1)
        self.body = nn.Sequential(nn.ReLU(), inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x))


class _Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0].sum()


def test_unknown_operator_names_module_and_line() -> None:
    text = refused(_Nested(_Spectrum()), ImportUnsupportedError)
    line = next(
        number
        for number, content in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "# the line the error names" in content
    )
    place = f"in body.1 (_Spectrum) at {__file__}:{line}"
    assert text.startswith("TVM cannot import the operator aten._fft_r2c.default: it is used")
    assert place in text


class _Bessel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_unknown_operator_names_the_users_line() -> None:
    text = refused(_Nested(_Bessel()), ImportUnsupportedError)
    assert re.search(r"in body\.1 \(_Bessel\) at \S+test_frontend_export\.py:\d+", text)


def test_operator_whose_conversion_fails() -> None:
    text = refused(_Nested(_Masked()), ImportUnsupportedError)
    assert "aten.index.Tensor as it is used here (in body.1 (_Masked) at" in text


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_control_flow_on_data(capfd: pytest.CaptureFixture[str]) -> None:
    text = refused(_Branch(), ModelError)
    assert text.startswith("PyTorch cannot export the model for an input of 1x8x10x12: GuardOnData")
    assert re.search(r"at \S+test_frontend_export\.py:\d+", text)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


class _Counter(nn.Module):
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def test_model_with_state() -> None:
    assert "changes its buffer calls while it runs" in refused(_Counter(), ModelError)
