"""The benchmark of calls runs; what it finds is no matter of a test."""

from __future__ import annotations

from benchmarks.call_overhead import nanoseconds


def test_it_times_runs_of_any_length() -> None:
    assert nanoseconds(0, 1, 5) > 0
    assert nanoseconds(10, 1, 5) > 0
