"""What is made of profiles: traces, counters, and two of them side by side."""

from __future__ import annotations

import json
import mmap
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tvm_flow.measure import perf_counters
from tvm_flow.report.chrome_trace import chrome_trace
from tvm_flow.report.profile import KernelTime, ProfileReport, profile
from tvm_flow.report.profile_versus import compare_profiles


@pytest.fixture(scope="module")
def report(pristine: Path) -> ProfileReport:
    return profile(pristine, threads=1, runs=5)


def kernel(symbol: str, *modules: str, us: float = 1.0) -> KernelTime:
    return KernelTime(
        symbol, symbol, "direct", modules, "tuned", us, 0.0, None, None, 0.0, 0, 0, us
    )


def made_of(report: ProfileReport, *kernels: KernelTime) -> ProfileReport:
    return replace(report, kernels=kernels, kernels_us=sum(k.microseconds for k in kernels))


def test_a_trace_has_one_slice_per_kernel_end_to_end(report: ProfileReport) -> None:
    document = json.loads(chrome_trace(report))
    slices = [e for e in document["traceEvents"] if e.get("cat") == "kernel"]
    assert [s["name"] for s in slices] == [k.symbol for k in report.kernels]
    start = 0.0
    for event, timed in zip(slices, report.kernels, strict=True):
        assert event["ph"] == "X"
        assert event["ts"] == pytest.approx(start)
        assert event["dur"] == timed.microseconds
        start += event["dur"]
    conv = slices[0]["args"]
    assert conv["op"].startswith("conv2d(")
    assert conv["modules"] == ["stem.conv"]
    assert conv["GFLOP/s"] == pytest.approx(2e-3 * conv["MACs"] / slices[0]["dur"])
    assert slices[1]["args"]["GFLOP/s"] is None  # TVM's own kernel
    names = {e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    assert names == {"kernels, 1 thread(s)", "modules"}


def test_modules_hold_their_kernels_in_a_trace(report: ProfileReport) -> None:
    """Neighbours of a module are one slice of it, and slices of a row lie within each other."""
    given = made_of(
        report, kernel("a", "s.0.x"), kernel("b", "s.0.y"), kernel("pool"), kernel("c", "s.1"),
    )  # fmt: skip
    events = json.loads(chrome_trace(given))["traceEvents"]
    modules = [(e["args"]["module"], e["ts"], e["dur"]) for e in events if e.get("cat") == "module"]
    assert modules == [
        ("s", 0, 2), ("s.0", 0, 2), ("s.0.x", 0, 1), ("s.0.y", 1, 1), ("s", 3, 1), ("s.1", 3, 1),
    ]  # fmt: skip


def test_kernels_of_the_same_modules_are_set_side_by_side(report: ProfileReport) -> None:
    """Also where one bundle fuses what is apart in the other; without modules by what they do."""
    first = made_of(
        report, kernel("conv", "a", us=3), kernel("conv", "b", us=2), kernel("pool", us=1),
        kernel("old", "c", us=4),
    )  # fmt: skip
    second = made_of(report, kernel("fused", "a", "b", us=4), kernel("pool", us=2))
    pairs = compare_profiles(first, second).pairs
    assert [(p.first_us, p.second_us, p.difference_us) for p in pairs] == [
        (5, 4, -1), (1, 2, 1), (4, 0, -4),
    ]  # fmt: skip
    assert pairs[0].modules == ("a", "b")
    assert [len(p.first) for p in pairs] == [2, 1, 1]
    assert pairs[2].second == ()


def test_every_kernel_is_in_one_pair(report: ProfileReport) -> None:
    found = compare_profiles(report, report)
    assert [p.first for p in found.pairs] == [(k,) for k in report.kernels]
    assert all(p.difference_us == 0 for p in found.pairs)
    json.dumps(found.to_json())


def test_counters_count_or_are_absent() -> None:
    with perf_counters.counted() as counts:
        fresh = mmap.mmap(-1, 1 << 22)  # no memory that the process had before
        fresh.write(b"x" * len(fresh))
    assert set(counts.values) <= set(perf_counters.EVENTS)
    if "page_faults" in counts.values:
        assert counts.values["page_faults"] >= len(fresh) / os.sysconf("SC_PAGE_SIZE") / 512
    if "instructions" in counts.values:
        assert counts.values["instructions"] > 1000


def test_counters_of_an_unknown_machine_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_counters.platform, "machine", lambda: "riscv64")
    with perf_counters.counted() as counts:
        pass
    assert counts.values == {}


def test_counters_leave_no_file_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), perf_counters.counted():
        raise KeyError
    assert len(os.listdir("/proc/self/fd")) == before
