"""Per-kernel times and memory of a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bundle.networks import CONV_MACS, reseal
from tvm_flow import check, load
from tvm_flow.report.profile import profile
from tvm_flow.support.errors import MeasurementError, UsageError


def test_kernels_are_linked_to_their_operators(pristine: Path) -> None:
    report = profile(pristine, threads=1, runs=20)
    assert [kernel.symbol for kernel in report.kernels] == ["conv2d", "relu", "mean"]
    conv, relu, _ = report.kernels
    assert conv.problem.startswith("conv2d(")
    assert conv.algorithm == "direct"
    assert (conv.modules, conv.source) == (("stem.conv",), "default")
    assert conv.gflops == pytest.approx(2e-3 * CONV_MACS / conv.microseconds)
    peak = json.loads((pristine / "manifest.json").read_text())["target"]["peak_gflops"][0]
    assert conv.peak_share == pytest.approx(conv.gflops / peak)
    assert (relu.source, relu.gflops) == ("generic", None)
    assert relu.gbps == pytest.approx(2 * 4 * 8 * 256 / relu.microseconds / 1e3)
    assert sum(kernel.share for kernel in report.kernels) == pytest.approx(1)
    assert report.kernels_us == pytest.approx(sum(k.microseconds for k in report.kernels))
    assert all(0 < kernel.p10_us <= kernel.microseconds for kernel in report.kernels)
    assert report.by_module()["stem.conv"] == conv.microseconds
    assert report.memory is None
    json.dumps(report.to_json())


def test_the_bundle_runs_on_after_a_profile(pristine: Path) -> None:
    """Times afterwards are those of runs that are not timed step by step."""
    report = profile(pristine, threads=1, runs=20)
    assert load(pristine, threads=1).time(20).median_ms < 5 * report.total.median_ms


def test_memory(pristine: Path) -> None:
    memory = profile(pristine, runs=1, memory=True).memory
    assert memory is not None
    assert memory.arena == 16384  # conv -> relu -> mean, two alive
    assert memory.unshared == 16384
    assert memory.weights == 4 * 8 * 27
    assert (memory.inputs, memory.outputs) == (4 * 3 * 256, 4 * 8)
    assert memory.library == (pristine / "model.so").stat().st_size
    assert 5 * 2**20 < memory.baseline_rss <= memory.peak_rss + 2**20
    assert memory.peak_rss < 60 * 2**20  # without torch and without TVM


def test_kernels_other_than_in_the_manifest(copied: Path) -> None:
    reseal(copied, lambda data: data["calls"].pop())
    with pytest.raises(MeasurementError, match="not those in the manifest"):
        profile(copied, runs=2)


def test_bundles_that_did_not_tell_problem_and_algorithm_apart(copied: Path) -> None:
    def older(data: dict[str, Any]) -> None:
        for kernel in data["kernels"]:
            kernel["workload"] = kernel.pop("problem")
            del kernel["algorithm"]

    reseal(copied, older)
    conv, *_ = profile(copied, threads=1, runs=2).kernels
    assert conv.problem.startswith("conv2d(")
    assert conv.algorithm == ""
    report = check(copied)
    assert report.max_rel_error <= report.tolerance


def test_runs_must_be_positive(pristine: Path) -> None:
    with pytest.raises(UsageError):
        profile(pristine, runs=0)
