"""Counts of whole networks: the published ones, PyTorch's, and an independent counter's."""

from __future__ import annotations

from functools import cache

import pytest
from ptflops import get_model_complexity_info
from torch import nn

from tests.models.test_models import FASTERNET_PAPER, SHUFFLENET_PAPER, TORCHVISION
from tests.passes.networks import imported
from tvm_flow.analysis.layers import layers_of, parameters_of, planned_calls
from tvm_flow.analysis.predict import Level, Peaks
from tvm_flow.analysis.report import AnalysisReport
from tvm_flow.backends import CPU
from tvm_flow.ir.generic import generic_operators
from tvm_flow.models import NAMES, create

PEAKS = Peaks(1, 100.0, (Level(1 << 20, 50.0),), 0, 1e-7, "measured", "in a test")
QUICK = ("shufflenet_v2_x0_5", "pconv_resnet18")


def analysed(model: nn.Module, name: str) -> AnalysisReport:
    """Without compiling: every kernel by its first algorithm."""
    graph = CPU.optimise(imported(model, (1, 3, 224, 224)))
    device, parameters = CPU.typical, parameters_of(model)
    calls = planned_calls(graph, lambda node: CPU.ways(node, device))
    layers = layers_of(calls, device, PEAKS, parameters)
    generic = generic_operators(graph, lambda node: bool(CPU.ways(node, device)))
    return AnalysisReport(
        name, "native", 1, PEAKS, layers, sum(parameters.values()), False, generic, None
    )


@pytest.fixture(
    scope="module",
    params=[
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES
    ],
)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, AnalysisReport]:
    model = create(request.param)
    return model, analysed(model, request.param)


def biases(model: nn.Module) -> int:
    """Of convolutions and linear layers; in the zoo those that have one give one pixel."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return sum(m.bias.numel() for m in layers if m.bias is not None)


@cache
def millions(name: str) -> tuple[float, float, float]:
    """Published: million parameters, million MACs, and by how much the latter may be off."""
    if name in FASTERNET_PAPER:  # printed with two figures of a million; batch norms are counted
        parameters, giga = FASTERNET_PAPER[name]
        return parameters, 1e3 * giga, 0.03
    parameters, giga = TORCHVISION[name]
    if name in SHUFFLENET_PAPER:
        return parameters / 1e6, SHUFFLENET_PAPER[name], 0.015
    return parameters / 1e6, 1e3 * giga, 5 / giga / 1e3


def test_published_counts(network: tuple[nn.Module, AnalysisReport]) -> None:
    _, report = network
    if report.model == "pconv_resnet18":
        pytest.skip("nothing is published of it")
    parameters, macs, off = millions(report.model)
    assert report.parameters / 1e6 == pytest.approx(parameters, abs=0.1)
    assert report.macs / 1e6 == pytest.approx(macs, rel=off)


def test_an_independent_counter(network: tuple[nn.Module, AnalysisReport]) -> None:
    """ptflops counts an addition of a bias as well; else both are the same to the last one."""
    model, report = network
    macs, parameters = get_model_complexity_info(
        model, (3, 224, 224), as_strings=False, print_per_layer_stat=False, backend="aten",
    )  # fmt: skip
    assert report.macs == macs - biases(model)
    assert report.flops == 2 * report.macs
    assert report.parameters == parameters


def test_every_parameter_is_some_kernels(network: tuple[nn.Module, AnalysisReport]) -> None:
    _, report = network
    assert sum(layer.parameters for layer in report.layers) == report.parameters


def test_fused_kernels_move_less_than_their_layers_one_by_one(
    network: tuple[nn.Module, AnalysisReport],
) -> None:
    """But for Winograd's weights, which are larger than those they are made of."""
    _, report = network
    plain = [layer for layer in report.layers if "winograd" not in layer.workload]
    assert sum(x.moved for x in plain) < sum(x.access_bytes for x in plain)
