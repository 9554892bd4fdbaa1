"""Predictions from peaks, and how a difference between two networks is split."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tvm_flow import targets
from tvm_flow.analysis.difference import difference
from tvm_flow.analysis.layers import MEASURED, Call, Layer, layers_of
from tvm_flow.analysis.peaks import peaks_of
from tvm_flow.analysis.predict import DATA_SHEET, Level, Peaks, predict, roofline_s
from tvm_flow.analysis.report import AnalysisReport
from tvm_flow.analysis.work import Work
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.operators import conv2d, depthwise

CPU = Cpu(16, 32, 32 << 10, 1 << 20)
PEAKS = Peaks(
    1, 100.0, (Level(1 << 14, 200.0), Level(1 << 20, 50.0), Level(1 << 26, 10.0)), 0, 1e-7,
    "measured", "in a test",
)  # fmt: skip


def call(problem: Problem, *modules: str) -> Call:
    info = {
        "problem": problem.key, "algorithm": "direct", "modules": modules, "source": "default",
    }  # fmt: skip
    return Call(problem.op, info, 0)


def report(name: str, *calls: Call, factor: float = 1.25) -> AnalysisReport:
    """A network whose kernels take ``factor`` of what is predicted."""
    layers = tuple(
        replace(layer, time_s=factor * layer.predicted.total, time_word=MEASURED)
        for layer in layers_of(calls, CPU, PEAKS, {})
    )
    return AnalysisReport(name, "native", 1, PEAKS, layers, 0, False, (), None)


def test_bandwidth_is_interpolated_between_levels_and_flat_outside() -> None:
    assert PEAKS.gbps(1) == 200
    assert PEAKS.gbps(1 << 17) == pytest.approx(100)  # half way in both logarithms
    assert PEAKS.gbps(1 << 20) == pytest.approx(50)
    assert PEAKS.gbps(1 << 30) == 10
    two = replace(PEAKS, threads=2, dram_gbps=15.0)
    assert two.gbps(1) == 400
    assert two.gbps(1 << 30) == 15  # what the cores share


def test_compute_hides_bandwidth_and_not_the_other_way_round() -> None:
    bound = predict(Work(10**6, 10**6, 1000, 0, 1000), PEAKS, 0)
    assert bound.compute == pytest.approx(2e-5)
    assert (bound.bandwidth, bound.limit) == (0, "compute")
    starved = predict(Work(1000, 1000, 0, 1 << 22, 0), PEAKS, 1 << 26)
    assert starved.limit == "bandwidth"
    assert starved.compute + starved.bandwidth == pytest.approx(1e-9 * (1 << 22) / 10)
    assert starved.total == pytest.approx(starved.compute + starved.bandwidth + 1e-7)


def test_weights_come_from_where_those_of_the_whole_network_fit() -> None:
    work = Work(0, 0, 0, 1 << 19, 0)
    alone, among_many = predict(work, PEAKS, 1 << 19), predict(work, PEAKS, 1 << 26)
    assert among_many.bandwidth > 4 * alone.bandwidth


def test_roofline_knows_neither_padding_nor_calls() -> None:
    work = Work(2000, 1000, 10, 10, 10)
    assert roofline_s(1000, work, PEAKS, 10) == pytest.approx(2e-8)
    assert predict(work, PEAKS, 10).total == pytest.approx(4e-8 + 1e-7)


@pytest.mark.parametrize("name", [n for n in targets.names() if n != "native"])
def test_every_board_has_peaks(name: str) -> None:
    board = targets.load(name)
    peaks = peaks_of(board)
    assert (peaks.source, peaks.gflops) == (DATA_SHEET, board.peak_gflops(board.threads))
    rates = [level.gbps for level in peaks.levels]
    assert len(rates) == 3
    assert rates == sorted(rates, reverse=True)
    assert peaks.gbps(1 << 30) <= board.dram_gbps


def test_parameters_are_those_of_the_modules_once() -> None:
    problem = conv2d.problem(n=1, h=4, w=4, ci=16, co=16)
    calls = [call(problem, "a.conv", "a.bn"), call(problem, "a.conv"), call(problem, "b")]
    given = {"a.conv": 256, "a.bn": 32, "b": 7, "unused": 1}
    assert [layer.parameters for layer in layers_of(calls, CPU, PEAKS, given)] == [288, 0, 7]


def test_a_kernel_of_tvms_own_has_what_it_is_given() -> None:
    (layer,) = layers_of([Call("multiply", None, 4000)], CPU, PEAKS, {})
    assert (layer.macs, layer.moved, layer.access, layer.parts) == (0, 4000, 1000, ())
    assert layer.predicted.bandwidth > 0


def test_where_the_time_of_fewer_flops_went() -> None:
    """A 3x3 replaced by depthwise and 1x1: nine times fewer FLOPs, and less than that in time."""
    dense = call(conv2d.problem(n=1, h=56, w=56, ci=64, co=64, kh=3, kw=3, ph=1, pw=1))
    apart = [
        call(depthwise.problem(n=1, h=56, w=56, c=64)),
        call(conv2d.problem(n=1, h=56, w=56, ci=64, co=64)),
    ]
    head = call(conv2d.problem(n=1, h=1, w=1, ci=512, co=1000))
    found = difference(report("dense", dense, head), report("apart", *apart, head, factor=2.0))
    assert found.time_word == "measured"
    assert found.flops_say < -0.85
    assert found.time_says > found.flops_say
    scaled = found.first.time * found.second.macs / found.first.macs
    assert found.lost == pytest.approx(found.second.time - scaled)
    assert found.lost > 0
    assert [stage.name for stage in found.stages] == ["56x56", "1x1"]
    for stage in found.stages:
        parts = stage.compute + stage.bandwidth + stage.launch + stage.unexplained
        assert parts == pytest.approx(stage.lost)
        assert stage.second.unexplained == pytest.approx(stage.second.time / 2)
    json.dumps(found.to_json())


def test_a_network_is_no_different_from_itself() -> None:
    one = report("one", call(conv2d.problem(n=1, h=14, w=14, ci=32, co=64)))
    found = difference(one, one)
    assert (found.flops_say, found.time_says, found.lost) == (0, 0, 0)


def test_unknown_times_leave_the_difference_to_the_prediction() -> None:
    one = report("one", call(conv2d.problem(n=1, h=14, w=14, ci=32, co=64)))
    layers: tuple[Layer, ...] = (replace(one.layers[0], time_s=None, time_word=""),)
    blind = replace(one, layers=layers)
    assert blind.time_s is None
    assert blind.unexplained_s is None
    found = difference(blind, one)
    assert found.time_word == "predicted"
    assert found.second.time == pytest.approx(one.predicted.total)
    json.dumps(blind.to_json())
