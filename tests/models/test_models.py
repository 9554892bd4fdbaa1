"""The zoo has the published structure, sizes and costs, and weights worth testing with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tvm_flow.models import NAMES, count_macs, count_parameters, create
from tvm_flow.models.layers import DropPath
from tvm_flow.models.pconv import PConv, PConvBottleneck, use_pconv_forward
from tvm_flow.support.errors import ModelError, UsageError

IMAGE = (1, 3, 224, 224)

# Table 9 of arXiv 2303.03667 as printed: million parameters and GMACs.
FASTERNET_PAPER = {
    "fasternet_t0": (3.9, 0.34),
    "fasternet_t1": (7.6, 0.85),
    "fasternet_t2": (15.0, 1.91),
    "fasternet_s": (31.1, 4.56),
    "fasternet_m": (53.5, 8.74),
    "fasternet_l": (93.5, 15.52),
}

# torchvision's documentation: exact parameters, and "GFLOPS" (GMACs of convolutions and matrix
# products alone, the convention of count_macs) with two decimals.
TORCHVISION = {
    "shufflenet_v2_x0_5": (1366792, 0.04),
    "shufflenet_v2_x1_0": (2278604, 0.14),
    "shufflenet_v2_x1_5": (3503624, 0.30),
    "shufflenet_v2_x2_0": (7393996, 0.58),
    "resnet18": (11689512, 1.81),
    "mobilenet_v2": (3504872, 0.30),
    "mobilenet_v3_small": (2542856, 0.06),
    "mobilenet_v3_large": (5483032, 0.22),
}

# arXiv 1807.11164, table 8: million multiply-adds. It does not say what it counts besides
# convolutions, so only the difference of at most 1.5 % is checked, never exceeding the paper.
SHUFFLENET_PAPER = {
    "shufflenet_v2_x0_5": 41,
    "shufflenet_v2_x1_0": 146,
    "shufflenet_v2_x1_5": 299,
    "shufflenet_v2_x2_0": 591,
}


#: the largest of a family, built as its smaller ones are
LARGE = ("fasternet_m", "fasternet_l")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in NAMES
    ],
)
def entry(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    return request.param, create(request.param)


def batch_norm_elements(model: nn.Module) -> int:
    """Elements all batch norms write for one 224 x 224 image."""
    total = 0

    def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        total += output.numel()

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    hooks = [norm.register_forward_hook(add) for norm in norms]
    with torch.no_grad():
        model(torch.zeros(IMAGE))
    for hook in hooks:
        hook.remove()
    return total


def test_size_and_cost_are_the_published_ones(entry: tuple[str, nn.Module]) -> None:
    name, model = entry
    parameters, macs = count_parameters(model), count_macs(model, IMAGE)
    if name in FASTERNET_PAPER:
        millions, giga = FASTERNET_PAPER[name]
        # The paper's script adds two operations per element of a batch norm; we fold those away.
        with_norms = macs + 2 * batch_norm_elements(model)
        # FasterNet-S has 31.18 M parameters by its own code; the table cuts where it rounds.
        assert parameters / 1e6 == pytest.approx(millions, abs=0.1 if name[-1] == "s" else 0.05)
        assert round(with_norms / 1e9, 2) == giga
    elif name in TORCHVISION:
        exact, giga = TORCHVISION[name]
        assert parameters == exact
        assert round(macs / 1e9, 2) == giga
    if name in SHUFFLENET_PAPER:
        assert 0.985 * SHUFFLENET_PAPER[name] <= macs / 1e6 <= SHUFFLENET_PAPER[name]


def test_pconv_resnet18_saves_what_the_formula_says() -> None:
    # Stride-1 3x3 of equal width: four at 56^2 x 64, three in each of the later stages.
    dense, partial = create("resnet18"), create("pconv_resnet18")
    sites = [(4, 56, 64), (3, 28, 128), (3, 14, 256), (3, 7, 512)]
    saved = [(n, hw, 9 * c * c - 9 * (c // 4) ** 2 - c * c) for n, hw, c in sites]
    parameters = count_parameters(dense) - count_parameters(partial)
    assert parameters == sum(n * each for n, _, each in saved)
    macs = count_macs(dense, IMAGE) - count_macs(partial, IMAGE)
    assert macs == sum(n * hw * hw * each for n, hw, each in saved)


def test_odd_sizes_and_batches_run(entry: tuple[str, nn.Module]) -> None:
    _, model = entry
    x = torch.randn(3, 3, 75, 53, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        batch = model(x)
        single = model(x[1:2])
    assert batch.shape == (3, 1000)
    assert not model.training
    torch.testing.assert_close(batch[1:2], single, rtol=1e-3, atol=1e-3)


def test_outputs_are_of_order_one_and_depend_on_the_input(entry: tuple[str, nn.Module]) -> None:
    _, model = entry
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x)
    assert 0.1 < float(y.std()) < 10
    assert float((y[0] - y[1]).std()) > 0.1 * float(y.std())


def test_batch_norms_are_not_trivial(entry: tuple[str, nn.Module]) -> None:
    for norm in (m for m in entry[1].modules() if isinstance(m, nn.BatchNorm2d)):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert float(tensor.detach().std()) > 0
            assert torch.isfinite(tensor).all()
        assert (norm.weight.detach() - 1).abs().max() > 0.1
        assert (norm.running_var > 0).all()


def test_creation_is_deterministic_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    first, again, other = (create("shufflenet_v2_x0_5", seed=seed) for seed in (7, 7, 8))
    assert torch.equal(before, torch.get_rng_state())
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    key = "conv1.0.weight"
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_number_of_classes() -> None:
    assert create("mobilenet_v3_small", num_classes=7)(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    with pytest.raises(UsageError, match="0 classes"):
        create("mobilenet_v3_small", num_classes=0)


def test_unknown_name_lists_close_ones_and_all() -> None:
    with pytest.raises(UsageError) as caught:
        create("fasternet-t0")
    assert "fasternet_t0" in caught.value.why
    assert all(name in caught.value.fix for name in NAMES)
    with pytest.raises(UsageError) as caught:
        create("qqqq")
    assert caught.value.why == ""


@pytest.mark.parametrize("name", ["fasternet_t0", "pconv_resnet18"])
def test_both_spellings_of_pconv_are_equal(name: str) -> None:
    model = create(name)
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(3))
    kept = x.clone()
    with torch.no_grad():
        split = model(x)
        sliced = use_pconv_forward(model, "slicing")(x)
    assert {m.spelling for m in model.modules() if isinstance(m, PConv)} == {"slicing"}
    torch.testing.assert_close(sliced, split, rtol=1e-5, atol=1e-5)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("forward", ["split_cat", "slicing"])
def test_pconv_leaves_the_other_channels_alone(forward: str) -> None:
    torch.manual_seed(0)
    pconv = PConv(10, 4, forward)  # type: ignore[arg-type]
    x = torch.randn(2, 10, 5, 6)
    with torch.no_grad():
        y = pconv(x)
        expected = nn.functional.conv2d(x[:, :2], pconv.partial_conv3.weight, padding=1)
    assert torch.equal(y[:, 2:], x[:, 2:])
    torch.testing.assert_close(y[:, :2], expected)


def test_pconv_refuses_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="1/4 of 3 channels"):
        PConv(3, 4)
    with pytest.raises(UsageError, match="split_cat, slicing"):
        PConv(8, 4, "chunk")  # type: ignore[arg-type]


def test_drop_path_keeps_the_expectation_and_is_off_in_eval() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 1, 1)
    y = drop.train()(x)
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(y[:, 0], y[:, 1])  # whole samples, not elements
    assert float(y.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(drop.eval()(x), x)


def _drop_rates(model: nn.Module) -> Iterator[float]:
    return (m.drop_path.rate for m in model.modules() if isinstance(m, PConvBottleneck))


def test_drop_path_rises_to_the_published_rate() -> None:
    rates = list(_drop_rates(create("fasternet_t2")))
    assert len(rates) == 13
    assert rates == sorted(rates)
    assert (rates[0], rates[-1]) == (0.0, pytest.approx(0.05))


def test_counting_leaves_the_model_alone_and_explains_bad_shapes() -> None:
    model = create("fasternet_t0").train()
    mean = model.get_buffer("patch_embed.norm.running_mean").clone()
    assert count_macs(model, (2, 3, 64, 64)) == 2 * count_macs(model, (1, 3, 64, 64))
    assert torch.equal(mean, model.get_buffer("patch_embed.norm.running_mean"))
    with pytest.raises(ModelError, match="FasterNet does not run on an input of 1x1x64x64"):
        count_macs(model, (1, 1, 64, 64))
