"""Partial convolution and the 1x1s after it, fused over row tiles.

Three operators share one generator. For a tile of rows the convolved channels, and for the block
the hidden activation, stay in a scratch that fits the cache; the first 1x1 reduces over two
segments, "PConv output" and "untouched channels of the input", so nothing is concatenated or
copied, but for ``pconv`` alone, which copies the untouched channels to its output.

A 3 x 3 PConv may be computed by Winograd's F(2 x 2) or F(4 x 4), the 1x1s by one level of Strassen,
for channels in multiples of 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import InvalidKnobs, Knobs, Space
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.operator import Operator
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import strassen, winograd
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import inner_threads, parallel
from tvm_flow.schedules.cpu.emit.packing import (
    Panels,
    balanced,
    even_rows,
    pack_matrix,
    pack_vector,
)
from tvm_flow.schedules.cpu.ops.conv2d.direct import is_heavy
from tvm_flow.schedules.cpu.ops.pconv.tile import FusedShape, TileEmitter

#: Pixels that make a good tile for Strassen's product even where its sums then leave L2, since
#: every tile streams the weights (decision 0007).
_STRASSEN_PIXELS = 196


class Fused(CpuAlgorithm):
    """One of the operators, its convolution by Winograd's F(m x m) or (0) directly, its 1x1s with a
    level of Strassen or without; see the module's text."""

    def __init__(self, operator: Operator, m: int, strassen: bool) -> None:
        self.operator, self.m, self.strassen = operator, m, strassen
        convolution = f"winograd{m}" if m else "direct"
        self.name = f"{convolution}_strassen" if strassen else convolution

    def applies(self, problem: Problem, device: Cpu) -> bool:
        if not super().applies(problem, device):
            return False
        s = self._shape(problem)
        return (not s.wino or (s.k, s.d) == (3, 1)) and _strassen_fits(s)

    def _shape(self, problem: Problem) -> FusedShape:
        return FusedShape.by(problem, self.m, self.strassen)

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s, sizes = self._shape(problem), {}
        for weight, bias, k, n in s.products:
            panels = Panels(n, device.lanes)
            sizes[weight] = k * panels.padded
            if weight == "conv" and s.wino:
                sizes[weight] = winograd.packed_size(s.wino, s.cc, panels)
            elif weight != "conv" and s.strassen:
                sizes[weight] = strassen.packed_size(k, n)
            sizes[bias] = panels.padded
        return packed(problem, **sizes)

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        found, s = [], self._shape(problem)
        for weight, bias, k, n in s.products:
            w = weights[weight]
            if w.ndim == 4 and s.wino:
                found.append(winograd.pack_weights(w, s.wino, device.lanes))
            elif w.ndim == 2 and s.strassen:
                found.append(strassen.pack_weights(w.T, device.lanes))
            else:
                matrix = w.transpose(2, 3, 1, 0).reshape(k, n) if w.ndim == 4 else w.T
                found.append(pack_matrix(matrix, device.lanes))
            found.append(pack_vector(weights[bias], device.lanes))
        return found

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = self._shape(problem)
        heavy = s.n1 and is_heavy(problem.text("act"))
        split = _default_split(s, device)
        rows = _default_rows(s, replace(device, threads=1) if split else device)
        knobs = {"rb": rows, "ku": 2 if heavy and not device.by_lane else 4}
        panels = Panels(s.cc, device.lanes)
        # full and narrow panels in one group would broadcast every pixel at two widths
        cnv = 1 if panels.tail and panels.count == 2 else min(2, panels.count)
        most = device.tile_pixels(cnv, 2 + cnv)
        cmt = balanced(s.w, min(s.w, most))[0][0]
        cth = 1 if s.wino else 2 if cmt == s.w and 2 * cmt <= most and s.h > 1 else 1
        if s.wino:
            tiles = -(-s.w // s.wino) * -(-knobs["rb"] // s.wino)
            cmt = balanced(tiles, min(tiles, most))[0][0]
        knobs |= {"cmt": cmt, "cnv": cnv, "cth": cth}
        if device.threads > 1 and s.n1:
            knobs["split"] = int(split)
        for index, k, n in ((1, s.c, s.n1), (2, s.n1, s.n2)):
            if n:
                small = heavy and index == 1
                nv, few = device.heavy_tile if small else (2, 0)
                nv = min(nv, Panels(n, device.lanes).count)
                reduction = k // 2 if s.strassen else k
                tallest = min(device.tile_pixels(nv, 2 + nv), device.resident_pixels(reduction))
                most = few or tallest
                knobs |= {f"mt{index}": min(most, knobs["rb"] * s.w), f"nv{index}": nv}
                knobs[f"order{index}"] = 1
        return knobs

    def space(self, problem: Problem, device: Cpu) -> Space:
        s, default = self._shape(problem), self.default(problem, device)
        tall = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 28)
        choices: Space = {
            "rb": [r for r in (1, 2, 3, 4, 5, 7, 8, 14) if r <= s.h],
            "ku": [2, 4, 8],
            "cmt": [m for m in tall if m <= s.w],
            "cnv": [v for v in (1, 2, 3, 4) if v <= Panels(s.cc, device.lanes).count],
            "cth": [1] if s.wino else [t for t in (1, 2, 3, 4) if t <= s.h],
        }
        if "split" in default:
            choices["split"] = [0, 1]
        for index, n in ((1, s.n1), (2, s.n2)):
            if n:
                choices[f"mt{index}"] = [m for m in tall if m <= s.h * s.w]
                count = Panels(n, device.lanes).count
                choices[f"nv{index}"] = [v for v in (1, 2, 3, 4, 6) if v <= count]
                choices[f"order{index}"] = [0, 1]
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = self._shape(problem)
        _check_registers(s, device, knobs)
        if not _strassen_fits(s):
            raise InvalidKnobs(
                "Strassen's product needs channels in multiples of 32, the first convolved"
            )
        rows = min(knobs["rb"], s.h)
        whole, rest = s.h // rows, s.h % rows
        blocks = whole + (1 if rest else 0)
        with (
            IRBuilder() as builder,
            prim_func(self, problem, device, name) as args,
            parallel(s.n * blocks, device.threads // inner_threads(device, knobs)) as task,
        ):
            image, block = task // blocks, task % blocks
            emit = TileEmitter(s, device, knobs, args, problem, image, block * rows)
            if not rest:
                emit.block(rows)
            elif not whole:
                emit.block(rest)
            else:
                with T.If(block < whole):
                    with T.Then():
                        emit.block(rows)
                    with T.Else():
                        emit.block(rest)
        return builder.get()


def _default_split(s: FusedShape, cpu: Cpu) -> bool:
    """Whether threads share every product instead of sharing out rows: where rows come out uneven
    and each thread would stream all weights through its own L2 (decision 0010)."""
    uneven = -(-s.h // cpu.threads) * cpu.threads > 1.1 * s.h
    streamed = _weight_bytes(s) > cpu.l2_bytes // 2
    return bool(cpu.threads > 1 and s.n1 and s.n == 1 and uneven and streamed and not s.strassen)


def _strassen_fits(s: FusedShape) -> bool:
    return not s.strassen or (
        s.first == 0 and all(strassen.fits(k, n) for *_, k, n in s.products[1:])
    )


def _weight_bytes(s: FusedShape) -> int:
    return FLOAT32.bytes * sum(k * n for _, _, k, n in s.products)


def _default_rows(s: FusedShape, cpu: Cpu) -> int:
    """Rows per tile: every thread busy and balanced, scratch within the cache.

    Weights that fit L2 leave it half to the scratch; larger ones are streamed once per tile, so
    tiles are then as large as the threads allow.
    """
    per_row = FLOAT32.bytes * s.w * (s.c + 2 * s.cc + s.n1)
    share = -(-s.h // max(1, cpu.threads // s.n))
    if s.strassen:  # its sums are read and written seven times: they must stay near
        scratch = max(strassen.scratch_per_row(k, n) for *_, k, n in s.products[1:])
        per_row += FLOAT32.bytes * s.w * scratch
        most = min(share, max(cpu.l2_bytes // 2 // per_row, -(-_STRASSEN_PIXELS // s.w)))
    elif _weight_bytes(s) > cpu.l2_bytes // 2:
        most = max(1, min(share, 2 * cpu.l2_bytes // per_row))
    else:
        most = max(1, min(cpu.l2_bytes // 2 // per_row, -(-s.h * s.n // cpu.threads), 8))
    return even_rows(s.h, most, cpu.threads, s.n)


def _check_registers(s: FusedShape, cpu: Cpu, knobs: Knobs) -> None:
    tiles = [(knobs["cmt"] * knobs["cth"], knobs["cnv"])]
    tiles += [(knobs[f"mt{i}"], knobs[f"nv{i}"]) for i, n in ((1, s.n1), (2, s.n2)) if n]
    for pixels, nv in tiles:
        cpu.check_tile(pixels, nv)
