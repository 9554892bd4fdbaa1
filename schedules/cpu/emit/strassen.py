"""One level of Strassen's matrix product in Winograd's form: seven half-size products, not eight.

With A cut into halves of rows and of the reduction, and B into halves of the reduction and of
columns (Winograd 1971; Boyer et al., arXiv 0707.2347, algorithm 1):

    S1 = A21 + A22   T1 = B12 - B11   P1 = A11 B11   P5 = S1 T1     C11 = P1 + P2
    S2 = S1 - A11    T2 = B22 - T1    P2 = A12 B21   P6 = S2 T2     C12 = P1 + P6 + P5 + P3
    S3 = A11 - A21   T3 = B22 - B12   P3 = S4 B22    P7 = S3 T3     C21 = P1 + P6 + P7 - P4
    S4 = A12 - S2    T4 = T2 - B21    P4 = A22 T4                   C22 = P1 + P6 + P7 + P5

B is a network's weights, so the T are computed when packing (1.75 times the plain weights); sums of
products happen where products leave their registers. What is left to pay are the S, one pass over
A. In fp32 the result differs from the plain sum by about 1e-6 of its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    apart,
    group_count,
    parallel,
    product,
    shared,
)
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    bind,
    convert,
    dtype_of,
    for_vectors,
    load,
    store,
)

#: in the order of :func:`pack_weights`
_B11, _B21, _T2, _T1, _B22, _T3, _T4 = range(7)
#: Reduction and columns are cut in halves of whole vectors of any target.
GRANULE = 32


def fits(k: int, n: int) -> bool:
    """Whether a reduction of ``k`` to ``n`` columns can be cut."""
    return k % GRANULE == 0 and n % GRANULE == 0


def scratch_per_row(k: int, n: int) -> int:
    """Elements of sums of A and of products, per line of A."""
    return k + n // 2


def packed_size(k: int, n: int) -> int:
    """Elements of the packed weights."""
    return 7 * (k // 2) * (n // 2)


def pack_weights(matrix: Array, lanes: int) -> Array:
    """K x N -> the seven right-hand sides, each packed as a [K/2, N/2] matrix."""
    k, n = (size // 2 for size in matrix.shape)
    wide = matrix.astype(np.float64)
    b11, b12, b21, b22 = wide[:k, :n], wide[:k, n:], wide[k:, :n], wide[k:, n:]
    t1 = b12 - b11
    t2 = b22 - t1
    sides = (b11, b21, t2, t1, b22, b22 - b12, b21 - t2)  # the last is -T4
    return np.concatenate([pack_matrix(side.astype(matrix.dtype), lanes) for side in sides])


@dataclass(frozen=True)
class StrassenEmitter:
    """A product of ``rows`` pixels with ``k`` x ``n`` packed weights.

    Of an odd number of pixels the one in the middle belongs to both halves, and is computed twice.
    ``segments`` of a pixel and ``epilogue`` as in ``microkernel.product``; segments
    have no repeats, and ``bias`` is added before the epilogue.
    """

    rows: int
    k: int
    n: int
    weight: tirx.Buffer
    bias: tirx.Buffer
    tiling: Tiling
    segments: Callable[[Expr], Sequence[Segment]]
    epilogue: Callable[[Expr], Epilogue]
    lanes: int
    by_lane: int = 0  # as in Weights
    threads: int = 1  # that share this product, in each of its steps

    @property
    def half_rows(self) -> int:
        return -(-self.rows // 2)

    @property
    def sum_pitch(self) -> int:
        """Elements per pixel of a sum of A."""
        return apart(self.k // 2, self.lanes, dtype_of(self.weight))

    @property
    def product_pitch(self) -> int:
        """Elements per pixel of a product."""
        return apart(self.n // 2, self.lanes, dtype_of(self.weight).accumulator)

    def emit(self) -> None:
        """Sums of A, then the seven products."""
        rows, sums, products = self.half_rows, self.sum_pitch, self.product_pitch
        dtype = dtype_of(self.weight)
        s1, s2, s3, s4 = (T.alloc_buffer((rows * sums,), dtype) for _ in range(4))
        # P1, then P1 + P6, then + P7
        total = T.alloc_buffer((rows * products,), dtype.accumulator)
        p5 = T.alloc_buffer((rows * products,), dtype.accumulator)
        self._sums(s1, s2, s3, s4)
        self._product(self._part(0, 0), _B11, self._to(total))
        self._product(self._part(0, 1), _B21, self._finish(0, 0, total))
        self._product(self._own(s2), _T2, self._to(total, total))
        self._product(self._own(s1), _T1, self._to(p5))
        self._product(self._own(s4), _B22, self._finish(0, 1, total, p5))
        self._product(self._own(s3), _T3, self._to(total, total))
        self._product(self._part(1, 1), _T4, self._finish_both(total, p5))

    def _product(
        self,
        segments: Callable[[Expr], Sequence[Segment]],
        side: int,
        epilogue: Callable[[Expr], Epilogue],
    ) -> None:
        k, panels = self.k // 2, Panels(self.n // 2, self.lanes)
        weights = Weights(self.weight, None, panels, k, side * k * panels.padded, self.by_lane)
        with shared(group_count(panels, self.tiling.nv), self.threads) as groups:
            product(self.half_rows, self.tiling, weights, segments, epilogue, groups=groups)

    def _part(self, row: int, column: int) -> Callable[[Expr], list[Segment]]:
        """A quarter of A."""
        first = row * (self.rows - self.half_rows)
        return lambda p: _half(self.segments(p + first), self.k // 2, column)

    def _own(self, buffer: tirx.Buffer) -> Callable[[Expr], list[Segment]]:
        k, pitch = self.k // 2, self.sum_pitch
        return lambda p: [Segment(buffer, p * pitch, 0, pitch, k)]

    def _sums(self, *sums: tirx.Buffer) -> None:
        """S1 to S4, pixel by pixel."""
        k = self.k // 2
        with parallel(self.half_rows, self.threads) as p:
            parts = [self._part(row, column)(p) for row in (0, 1) for column in (0, 1)]
            cuts = sorted({0, k, *(s.k0 for part in parts for s in part)})
            for low, high in pairwise(cuts):
                self._sums_of_run(sums, parts, p * self.sum_pitch, low, high)

    def _sums_of_run(
        self, sums: Sequence[tirx.Buffer], parts: Sequence[list[Segment]], at: Expr, low: int,
        high: int,
    ) -> None:  # fmt: skip
        """Channels ``low`` to ``high`` of each part, where each is one segment."""
        found = [next(s for s in part if s.k0 <= low < s.k0 + s.k) for part in parts]

        def vector(channel: Expr, width: int) -> None:
            a11, a12, a21, a22 = (
                bind(load(s.buffer, s.base + (channel - s.k0), width), width) for s in found
            )
            s1 = bind(a21() + a22(), width)
            s2 = bind(s1() - a11(), width)
            values = (s1(), s2(), a11() - a21(), a12() - s2())
            for buffer, value in zip(sums, values, strict=True):
                store(buffer, value, at + channel, width)

        for_vectors(high - low, self.lanes, lambda offset, width: vector(low + offset, width))

    def _to(self, out: tirx.Buffer, *terms: tirx.Buffer) -> Callable[[Expr], Epilogue]:
        """Keep a product, with ``terms`` added."""

        def at(p: Expr) -> Epilogue:
            def epilogue(
                value: Value, _i: Expr, j: Expr, channel: Expr, width: int, _valid: int
            ) -> None:
                where = (p + j) * self.product_pitch + channel
                store(out, _sum(value(), terms, where, width), where, width)

            return epilogue

        return at

    def _finish(self, row: int, column: int, *terms: tirx.Buffer) -> Callable[[Expr], Epilogue]:
        """A quarter of C: a product with ``terms`` and the bias added."""

        def at(p: Expr) -> Epilogue:
            return lambda value, i, j, channel, width, valid: self._leave(
                value(), (row, column), terms, (p, i, j), channel, width, valid
            )

        return at

    def _finish_both(self, total: tirx.Buffer, p5: tirx.Buffer) -> Callable[[Expr], Epilogue]:
        """C21 of the last product, and C22, which needs no other one."""

        def at(p: Expr) -> Epilogue:
            def epilogue(
                value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int
            ) -> None:
                self._leave(value(), (1, 0), (total,), (p, i, j), channel, width, valid)
                where = (p + j) * self.product_pitch + channel
                known = load(total, where, width)
                self._leave(known, (1, 1), (p5,), (p, i, j), channel, width, valid)

            return epilogue

        return at

    def _leave(
        self, value: Expr, quarter: tuple[int, int], terms: Sequence[tirx.Buffer],
        pixel: tuple[Expr, Expr, Expr], channel: Expr, width: int, valid: int,
    ) -> None:  # fmt: skip
        (row, column), (p, i, j) = quarter, pixel
        value = _sum(value, terms, (p + j) * self.product_pitch + channel, width)
        channel = channel + column * (self.n // 2)
        bias = convert(load(self.bias, channel, width), dtype_of(value))
        done = bind(value + bias, width)
        self.epilogue(p + row * (self.rows - self.half_rows))(done, i, j, channel, width, valid)


def _sum(value: Expr, terms: Sequence[tirx.Buffer], where: Expr, width: int) -> Expr:
    for term in terms:
        value = value + load(term, where, width)
    return value


def _half(segments: Sequence[Segment], half: int, column: int) -> list[Segment]:
    """What lies in the first or second ``half`` of a reduction; ``k0`` counts from its start."""
    start, found = column * half, []
    for segment in segments:
        low, high = max(segment.k0, start), min(segment.k0 + segment.k, start + half)
        if low < high:
            base = segment.base + (low - segment.k0)
            found.append(replace(segment, base=base, k=high - low, k0=low - start))
    return found
