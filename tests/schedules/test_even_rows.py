"""Rows are shared out evenly."""

from __future__ import annotations

import pytest

from tvm_flow.schedules.cpu.emit.packing import even_rows


@pytest.mark.parametrize(
    ("rows", "most", "threads", "images", "expected"),
    [
        (56, 8, 1, 1, 8),  # one thread: as few tiles as possible
        (15, 8, 1, 1, 8),
        (56, 8, 2, 1, 7),  # seven tiles of 8 would be four for one thread, three for the other
        (14, 8, 2, 1, 7),
        (7, 7, 2, 1, 4),
        (14, 14, 6, 1, 3),
        (7, 7, 2, 2, 7),  # two images
        (1, 1, 4, 1, 1),
    ],
)
def test_even_rows(rows: int, most: int, threads: int, images: int, expected: int) -> None:
    assert even_rows(rows, most, threads, images) == expected
