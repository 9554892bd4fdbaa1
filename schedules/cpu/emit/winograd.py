"""Winograd convolution F(m x m, 3 x 3), m = 2 or 4 (Lavin and Gray, arXiv 1509.09308).

A tile of m x m outputs is computed from (m+2) x (m+2) inputs d as A^T [ (G g G^T) * (B^T d B) ] A:
per tile position one matrix product over channels, (m+2)^2 of them, instead of nine per output
pixel. That is 2.25 (m=2) or 4 (m=4) times fewer multiplications, for transforms that cost additions
proportional to channels, not to their product. Rounding grows with m: in fp32 the result differs
from the direct sum by about 1e-7 (m=2) and 1e-6 (m=4) of its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.dtypes import DType
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    clip,
    parallel,
    product,
    shared,
)
from tvm_flow.schedules.cpu.emit.packing import Panels, pack_matrix
from tvm_flow.schedules.cpu.emit.vector import (
    Expr,
    Value,
    constant,
    convert,
    dtype_of,
    for_vectors,
    load,
    loop,
    registers,
    store,
)

Matrix = Sequence[Sequence[float]]

# interpolation points 0, 1, -1, infinity
_BT2 = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1))
_G2 = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_AT2 = ((1, 1, 1, 0), (0, 1, -1, 1))
# interpolation points 0, 1, -1, 2, -2, infinity
_BT4 = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
)  # fmt: skip
_G4 = (
    (1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1),
)  # fmt: skip
_AT4 = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))

_MATRICES: dict[int, tuple[Matrix, Matrix, Matrix]] = {2: (_BT2, _G2, _AT2), 4: (_BT4, _G4, _AT4)}


def positions(m: int) -> int:
    """Matrix products per tile."""
    return (m + 2) ** 2


def packed_size(m: int, ci: int, panels: Panels) -> int:
    """Elements of the transformed, packed weights."""
    return positions(m) * ci * panels.padded


def pack_weights(weight: Array, m: int, lanes: int) -> Array:
    """OIHW 3x3 weights -> G g G^T per position, each packed as a [ci, co] matrix."""
    g = np.array(_MATRICES[m][1], np.float64)
    u = np.einsum("ai,ocij,bj->abco", g, weight.astype(np.float64), g)
    flat = u.reshape(positions(m), *u.shape[2:]).astype(weight.dtype)
    return np.concatenate([pack_matrix(matrix, lanes) for matrix in flat])


def covered(size: int, m: int) -> int:
    """Outputs computed along an axis of ``size``: whole tiles."""
    return -(-size // m) * m


@dataclass(frozen=True)
class WinogradEmitter:
    """One convolution over ``rows`` x ``width`` outputs (both known when generating).

    ``pad`` holds the zero-bordered input: ``pitch`` elements per row, ``ci`` per column, at least
    covered(rows) + 2 rows and covered(width) + 2 columns. ``first`` is the first input channel's
    offset in a column. The result goes to ``epilogue(row, column)``, bias added.
    """

    m: int
    rows: int
    width: int
    ci: int
    pad: tirx.Buffer
    pitch: int
    weight: tirx.Buffer
    bias: tirx.Buffer
    panels: Panels
    tiling: Tiling
    epilogue: Callable[[Expr, Expr], Epilogue]
    by_lane: int = 0  # as in Weights
    threads: int = 1  # that share this convolution, in each of its steps

    @property
    def across(self) -> int:
        return -(-self.width // self.m)

    @property
    def tiles(self) -> int:
        return -(-self.rows // self.m) * self.across

    def emit(self) -> None:
        """Input transform, products, output transform."""
        count, stride = positions(self.m), self.tiles * self.ci
        dtype = dtype_of(self.weight)
        v = T.alloc_buffer((count * stride,), dtype)
        out = T.alloc_buffer((count * self.tiles * self.panels.padded,), dtype.accumulator)
        down = self.tiles // self.across
        with parallel(down, self.threads) as ty, T.serial(0, self.across) as tx:
            self._input(v, ty, tx)
        with parallel(count, self.threads) as position:
            base = position * (self.ci * self.panels.padded)
            product(
                self.tiles,
                self.tiling,
                Weights(self.weight, None, self.panels, self.ci, base, self.by_lane),
                lambda p: [Segment(v, position * stride + p * self.ci, 0, self.ci, self.ci)],
                lambda p: self._to(out, position * self.tiles + p),
            )
        self._for_output_tiles(partial(self._output, out))

    def _for_output_tiles(self, body: Callable[[Expr, Expr, int, int], None]) -> None:
        """``body(tile row, tile column, valid rows, valid columns)`` for every tile."""
        with shared(self.tiles // self.across, self.threads) as rows:
            for down, ty0, valid_y in _spans(self.rows, self.m):
                for over, tx0, valid_x in _spans(self.width, self.m):
                    with loop(*clip(*rows, ty0, ty0 + down)) as ty, T.serial(0, over) as x:
                        body(ty, tx0 + x, valid_y, valid_x)

    def _input(self, v: tirx.Buffer, ty: Expr, tx: Expr) -> None:
        n, m = self.m + 2, self.m
        corner = ty * (m * self.pitch) + tx * (m * self.ci)
        where = (ty * self.across + tx) * self.ci

        def panel(channel: Expr, width: int) -> None:
            def read(i: int, j: int) -> Expr:
                return load(self.pad, corner + i * self.pitch + j * self.ci + channel, width)

            def write(i: int, j: int, value: Expr) -> None:
                at = (i * n + j) * (self.tiles * self.ci) + where + channel
                store(v, value, at, width)

            _both_sides(_MATRICES[m][0], read, write, width)

        for_vectors(self.ci, self.panels.lanes, panel)

    def _output(self, out: tirx.Buffer, ty: Expr, tx: Expr, vy: int, vx: int) -> None:
        n, m, padded = self.m + 2, self.m, self.panels.padded
        tile = ty * self.across + tx
        finish = self.epilogue(ty * m, tx * m)

        def panel(channel: Expr, width: int, valid: int) -> None:
            def read(i: int, j: int) -> Expr:
                at = ((i * n + j) * self.tiles + tile) * padded + channel
                return load(out, at, width)

            def write(i: int, j: int, value: Expr) -> None:
                if i < vy and j < vx:
                    slot = registers(width, dtype_of(value))
                    bias = convert(load(self.bias, channel, width), dtype_of(value))
                    store(slot, value + bias, 0, width)
                    row, column = tirx.IntImm("int32", i), tirx.IntImm("int32", j)
                    finish(lambda: load(slot, 0, width), row, column, channel, width, valid)

            _both_sides(_MATRICES[m][2], read, write, width)

        lanes = self.panels.lanes
        if self.panels.full:
            with T.serial(0, self.panels.full) as p:
                panel(p * lanes, lanes, lanes)
        if self.panels.tail:
            last = tirx.IntImm("int32", self.panels.full * lanes)
            panel(last, self.panels.tail, self.panels.n % lanes)

    def _to(self, out: tirx.Buffer, row: Expr) -> Epilogue:
        def epilogue(
            value: Value, _i: Expr, j: Expr, channel: Expr, width: int, _valid: int
        ) -> None:
            store(out, value(), (row + j) * self.panels.padded + channel, width)

        return epilogue


def _spans(size: int, m: int) -> list[tuple[int, int, int]]:
    """(tiles, first tile, valid outputs per tile): the whole ones, then the partial one."""
    whole, rest = divmod(size, m)
    return [span for span in ((whole, 0, m), (int(rest > 0), whole, rest)) if span[0]]


def _both_sides(
    matrix: Matrix,
    read: Callable[[int, int], Expr],
    write: Callable[[int, int, Expr], None],
    width: int,
) -> None:
    """``write(i, j, (M x M^T)[i, j])`` for the square array ``read``: columns, then rows."""
    rows, n = len(matrix), len(matrix[0])
    dtype = dtype_of(read(0, 0))
    half = registers(rows * n * width, dtype)
    for j in range(n):
        column = registers(n * width, dtype)
        for i in range(n):
            store(column, read(i, j), i * width, width)
        for i in range(rows):
            values = [partial(load, column, k * width, width) for k in range(n)]
            value = _combine(matrix[i], values, width, dtype)
            store(half, value, (i * n + j) * width, width)
    for i in range(rows):
        line = [partial(load, half, (i * n + k) * width, width) for k in range(n)]
        for j in range(rows):
            write(i, j, _combine(matrix[j], line, width, dtype))


def _combine(
    row: Sequence[float], values: Sequence[Callable[[], Expr]], width: int, dtype: DType
) -> Expr:
    """Linear combination without the multiplications by 0, 1 and -1."""
    total: Expr | None = None
    for c, value in sorted(zip(row, values, strict=True), key=lambda pair: -pair[0]):
        if c == 0:
            continue
        term = value() if abs(c) == 1 else value() * constant(abs(c), width, dtype)
        if total is None:
            total = term if c > 0 else constant(0, width, dtype) - term
        else:
            total = total + term if c > 0 else total - term
    assert total is not None
    return total
