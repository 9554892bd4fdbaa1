"""Each rule of advice finds what it is for and leaves the rest alone; savings by peaks add up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tvm_flow.analysis.advice import AdviceReport, advice, timed_saving
from tvm_flow.analysis.finding import finding
from tvm_flow.analysis.layers import MEASURED, Call, Layer, layers_of
from tvm_flow.analysis.predict import Level, Peaks
from tvm_flow.analysis.report import AnalysisReport
from tvm_flow.analysis.rules import RULES, Scene
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.operators import conv2d, depthwise, transpose

CPU = Cpu(16, 32, 32 << 10, 1 << 20, fmas=1)
PEAKS = Peaks(
    1, 100.0, (Level(1 << 14, 200.0), Level(1 << 20, 50.0), Level(1 << 26, 10.0)), 0, 1e-9,
    "measured", "in a test",
)  # fmt: skip


def conv(size: int, ci: int, co: int, k: int = 1, **more: Any) -> Problem:
    window = {"kh": k, "kw": k, "ph": k // 2, "pw": k // 2}
    return conv2d.problem(n=1, h=size, w=size, ci=ci, co=co, **window, **more)


def layers(*given: Problem | Call, peaks: Peaks = PEAKS) -> tuple[Layer, ...]:
    calls = [
        Call(
            one.op,
            {"problem": one.key, "algorithm": "direct", "modules": [f"m{n}"], "source": "default"},
            0,
        )
        if isinstance(one, Problem)
        else one
        for n, one in enumerate(given)
    ]
    return tuple(
        replace(layer, time_s=1.1 * layer.predicted.total, time_word=MEASURED)
        for layer in layers_of(calls, CPU, peaks, {})
    )


def advised(*given: Problem | Call, **more: Any) -> AdviceReport:
    report = AnalysisReport("net", "native", 1, PEAKS, layers(*given), 0, False, (), None)
    return advice(report, CPU, 4, 0, **more)


def rules(*given: Problem | Call) -> set[str]:
    """Of all proposals, worth it or not."""
    scene = Scene(layers(*given), CPU, 4)
    return {change.rule for rule in RULES for change in rule(scene)}


@pytest.mark.parametrize(
    ("rule", "hit", "miss"),
    [
        ("G1 unequal widths", conv(28, 32, 192), conv(28, 64, 64)),
        ("G1 unequal widths", conv(28, 192, 32), conv(1, 512, 16)),
        ("G2 groups", conv(28, 64, 64, 3, groups=8), conv(28, 64, 64, 3)),
        ("channel alignment", conv(28, 64, 58), conv(28, 58, 64)),
        ("costly activation", conv(28, 64, 64, act="gelu"), conv(28, 64, 64, act="relu")),
        ("3x3 that PConv would replace", conv(28, 64, 64, 3), conv(28, 64, 128, 3)),
        ("3x3 that PConv would replace", conv(28, 64, 64, 3), conv(28, 64, 64, 3, groups=4)),
        ("operator without a kernel", Call("fused_conv2d_add", None, 4000),
         Call("multiply", None, 4000)),
        ("G4 element-wise", Call("multiply", None, 4000), conv(28, 64, 64)),
        ("G4 element-wise", transpose.problem(1, 64, 28, 28, (0, 2, 3, 1)), conv(28, 64, 64)),
    ],
)  # fmt: skip
def test_rule(rule: str, hit: Problem | Call, miss: Problem | Call) -> None:
    assert hit is not None
    assert rule in rules(hit)
    assert rule not in rules(miss)


def test_a_depthwise_convolution_and_the_1x1_behind_it() -> None:
    before = depthwise.problem(n=1, h=28, w=28, c=64)
    assert "depthwise" in rules(before, conv(28, 64, 128))
    assert "depthwise" not in rules(before, conv(28, 32, 128))  # reads something else
    strided = depthwise.problem(n=1, h=28, w=28, c=64, sh=2, sw=2)
    assert "depthwise" not in rules(strided, conv(14, 64, 128))


def test_calls_show_where_kernels_are_short() -> None:
    slow = replace(PEAKS, launch_s=1e-4)
    scene = Scene(layers(conv(1, 16, 16), conv(112, 64, 64), peaks=slow), CPU, 4)
    fragments = [c for rule in RULES for c in rule(scene) if c.rule == "G3 fragmentation"]
    assert [change.layers for change in fragments] == [(scene.layers[0],)]


def test_findings_come_by_saving_and_alike_ones_together() -> None:
    gelu = conv(28, 64, 64, act="gelu")
    report = advised(gelu, conv(28, 64, 64, 3), gelu, conv(28, 64, 64))
    savings = [one.saving_s for one in report.findings]
    assert savings == sorted(savings, reverse=True)
    assert report.findings[0].rule == "3x3 that PConv would replace"
    (act,) = [one for one in report.findings if one.rule == "costly activation"]
    assert act.count == 2
    assert act.modules == ("m0", "m2")
    (alone,) = [o for o in advised(gelu, conv(56, 64, 64)).findings if o.rule == act.rule]
    assert act.saving_s == pytest.approx(2 * alone.saving_s)
    assert act.cost_word == "measured"
    assert act.saving_word == "modelled"
    json.dumps(report.to_json())


def test_a_saving_is_as_much_of_the_time_as_the_prediction_gets_shorter() -> None:
    scene = Scene(layers(conv(28, 64, 64, 3)), CPU, 4)
    (change,) = [c for rule in RULES for c in rule(scene)]
    found = finding(change, CPU, PEAKS, 0)
    (after,) = layers_of(
        [Call("x", {"problem": found.after[0].rpartition(":")[0], "modules": [], "source": "",
                    "algorithm": found.after[0].rpartition(":")[2]}, 0)],
        CPU, PEAKS, {},
    )  # fmt: skip
    part = 1 - after.predicted.total / scene.layers[0].predicted.total
    assert part > 0.5
    assert found.saving_s == pytest.approx(part * found.cost_s)


def test_unequal_widths_are_compared_at_equal_macs() -> None:
    """Where arithmetic is the limit, widths do not matter, however many MACs the change has."""
    scene = Scene(layers(conv(28, 32, 192)), CPU, 4)
    (change,) = [c for rule in RULES for c in rule(scene) if c.rule.startswith("G1")]
    assert abs(finding(change, CPU, PEAKS, 0).saving_s) < 0.01 * scene.layers[0].predicted.total


def test_what_saves_next_to_nothing_is_counted_and_not_listed() -> None:
    report = advised(conv(112, 64, 64), conv(28, 32, 192))
    assert report.findings == ()
    assert [(entry.rule, entry.places, entry.worth) for entry in report.audit] == [
        ("G1 unequal widths", 1, 0)
    ]


def test_timed_savings_take_the_place_of_modelled_ones() -> None:
    seconds = {"direct": 3.0, "other": 1.0}

    def sharpen(one: Any) -> Any:
        def clock(workload: Workload) -> float:
            return seconds["direct" if workload.key in one.before else "other"]

        return timed_saving(one, clock, MEASURED)

    report = advised(conv(28, 64, 64, 3), conv(28, 64, 58), sharpen=sharpen)
    replaced, aligned = report.findings
    assert replaced.saving_word == "measured"
    assert replaced.saving_s == pytest.approx(2 / 3 * replaced.cost_s)
    assert aligned.saving_word == "modelled"  # nothing takes its place that could be timed
