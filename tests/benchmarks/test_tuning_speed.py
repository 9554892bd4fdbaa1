"""Curves of the tuners: when one has arrived, and their picture."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import tuners, tuning_speed
from benchmarks.plot import Curve, nice_step, svg
from tvm_flow.support.errors import TuningError


def points(*latencies: float | None) -> list[dict[str, Any]]:
    return [
        {"seconds": 10.0 * i, "trials": 8 * i, "covered": 2, "tasks": 2, "latency_ms": ms}
        for i, ms in enumerate(latencies)
    ]


def test_arrival_is_the_first_point_from_which_it_stays_within_three_per_cent() -> None:
    found = tuning_speed.summary(points(None, 9.0, 8.2, 8.3, 8.1, 8.0), 60.0)
    assert found["arrived_s"] == 40.0
    assert found["trials_per_minute"] == 40
    assert tuning_speed.summary(points(None, None), 60.0)["arrived_s"] is None


def test_picture_has_a_line_per_tuner_that_has_a_latency() -> None:
    found = {
        name: {"title": name, "points": p, **tuning_speed.summary(p, 60.0)}
        for name, p in (("a<b", points(None, 9.0, 8.0)), ("none", points(None, None)))
    }
    text = tuning_speed.drawn({"model": "m", "threads": 1, "tuners": found})
    root = ET.fromstring(text)
    assert len(root.findall("{*}polyline")) == 1
    words = " ".join(element.text or "" for element in root.findall(".//{*}text"))
    assert "a<b, 16 trials/min" in words
    assert "none, 8 trials/min, 2 of 2 tasks timed" in words


@pytest.mark.parametrize(
    ("largest", "step"), [(6, 1), (6.1, 2), (600, 100), (0.7, 0.2), (13, 2.5), (0, 1)]
)
def test_axis_reaches_the_largest_value_in_six_round_steps(largest: float, step: float) -> None:
    assert nice_step(largest) == pytest.approx(step)


def test_curve_is_a_staircase_inside_the_chart() -> None:
    root = ET.fromstring(svg("t", "x", "y", [Curve("c", [(0, 4.0), (10, 2.0)])]))
    line = root.find("{*}polyline")
    assert line is not None
    corners = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert len(corners) == 3
    assert corners[0][1] == corners[1][1] < corners[2][1]
    assert all(0 <= x <= 720 and 0 <= y <= 400 for x, y in corners)


def test_tuner_that_fails_is_reported_with_its_last_words() -> None:
    with pytest.raises(TuningError, match=r"tvm-flow failed after .*no_such_net"):
        tuning_speed.run("ours", "no_such_net", 60.0, 1)


@pytest.mark.slow
def test_our_tuner_reports_as_it_goes() -> None:
    found = tuning_speed.run("ours", "conv1x1_384_64_14", 60.0, 1)
    seconds = [point["seconds"] for point in found["points"]]
    assert seconds == sorted(seconds)
    assert found["trials"] > 0
    assert found["covered"] == found["tasks"] > 0
    # a kernel of 9.6 MFLOP: anything else is a wrong unit
    assert 0.01 < found["final_ms"] < 1000


def test_stock_trials_count_before_their_times_are_known() -> None:
    """MetaSchedule runs a batch of every task before it looks at the times of the first."""
    stream = io.StringIO()
    progress = tuners.Progress([2, 1], tuners.Reporter(stream))
    progress.ran(64)
    progress.learnt(0, [3e-3, 2e-3])
    progress.ran(64)
    progress.learnt(1, [])
    progress.learnt(1, [1e-3])
    progress.learnt(0, [4e-3])
    points = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [point["trials"] for point in points] == [0, 64, 64, 128, 128, 128, 128]
    assert [point["covered"] for point in points] == [0, 0, 1, 1, 1, 2, 2]
    assert [point["latency_ms"] for point in points[-3:]] == [None, 5.0, 5.0]
