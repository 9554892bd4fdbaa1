"""Transposition of squares of elements in registers.

By log2(side) rounds of interleaving row i with row i + side/2 (a perfect shuffle of the rows;
Stone, IEEE Trans. Computers C-20, 1971).
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm_flow.schedules.cpu.emit.vector import Value, bind, interleave_half


def transposed(rows: Sequence[Value]) -> list[Value]:
    """The columns of a square with these rows; its side is a power of two."""
    side, values = len(rows), list(rows)
    for _ in range(side.bit_length() - 1):
        values = [
            bind(interleave_half(values[i // 2](), values[i // 2 + side // 2](), side, i % 2), side)
            for i in range(side)
        ]
    return values
