"""Partial convolution (arXiv 2303.03667) and the chains around it, fused over row tiles.

PConv convolves the first ``cc`` of ``c`` channels with a k x k kernel (stride 1, same padding) and
leaves the rest as they are. Three operators share one generator:

``pconv``            the convolution alone; the untouched channels are copied to the output
``pconv_pointwise``  PConv, 1x1 (c -> co), bias, activation, optional residual before it
``pconv_block``      PConv, 1x1 (c -> hidden), bias, activation, 1x1 (hidden -> c), optional
                     residual: the FasterNet block

For a tile of rows the convolved channels, and for the block the hidden activation, stay in a
scratch that fits the cache; the first 1x1 reduces over two segments, "PConv output" and "untouched
channels of the input", so nothing is concatenated or copied.

Parameters: n, h, w, c, cc, k; and co, act, res (pointwise); hidden, act, res (block); ``wino``
(left out, 2 or 4): compute a 3 x 3 PConv by Winograd F(wino x wino); ``strassen`` (left out or
1): the 1x1s by one level of Strassen, for channels in multiples of 32.
Weights: ``conv`` [cc, cc, k, k], ``conv_bias`` [cc], ``w1`` [co or hidden, c], ``b1``, and for
the block ``w2`` [c, hidden], ``b2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.base import (
    Array,
    Cpu,
    Family,
    InvalidKnobs,
    Knobs,
    Space,
    TensorSpec,
    Workload,
)
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.emit import activations, strassen, winograd
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import inner_threads, parallel
from tvm_flow.schedules.cpu.emit.packing import (
    Panels,
    balanced,
    even_rows,
    pack_matrix,
    pack_vector,
)
from tvm_flow.schedules.cpu.ops.conv2d.direct import HEAVY_ACTIVATIONS
from tvm_flow.schedules.cpu.ops.pconv.tile import Shape, TileEmitter, products
from tvm_flow.schedules.cpu.reference import conv2d_nhwc
from tvm_flow.schedules.registry import register

#: Pixels that make a good tile for Strassen's product even where its sums then leave L2: every tile
#: streams the weights. 14 x 14, 384 channels: 880 us with 196 pixels, 941 with 56 (Zen 5).
_STRASSEN_PIXELS = 196


class PConvFamily(Family):
    """See the module's text."""

    def __init__(self, op: str) -> None:
        self.op = op

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        s = Shape.of(workload)
        specs = [TensorSpec("x", (s.n, s.h, s.w, s.c), "input")]
        if self.op == "pconv_pointwise" and workload.text("res") != "none":
            specs.append(TensorSpec("residual", (s.n, s.h, s.w, s.n1), "input"))
        for weight, bias, k, n in products(s):
            panels = Panels(n, cpu.lanes)
            size = k * panels.padded
            if weight == "conv" and s.wino:
                size = winograd.packed_size(s.wino, s.cc, panels)
            elif weight != "conv" and s.strassen:
                size = strassen.packed_size(k, n)
            specs.append(TensorSpec(weight, (size,), "weight"))
            specs.append(TensorSpec(bias, (panels.padded,), "weight"))
        return [*specs, TensorSpec("y", (s.n, s.h, s.w, s.out), "output")]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        s = Shape.of(workload)
        shapes: dict[str, tuple[int, ...]] = {
            "conv": (s.cc, s.cc, s.k, s.k), "conv_bias": (s.cc,),
        }  # fmt: skip
        if s.n1:
            shapes |= {"w1": (s.n1, s.c), "b1": (s.n1,)}
        if s.n2:
            shapes |= {"w2": (s.n2, s.n1), "b2": (s.n2,)}
        return shapes

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        packed, s = [], Shape.of(workload)
        for weight, bias, k, n in products(s):
            w = weights[weight]
            if w.ndim == 4 and s.wino:
                packed.append(winograd.pack_weights(w, s.wino, cpu.lanes))
            elif w.ndim == 2 and s.strassen:
                packed.append(strassen.pack_weights(w.T, cpu.lanes))
            else:
                matrix = w.transpose(2, 3, 1, 0).reshape(k, n) if w.ndim == 4 else w.T
                packed.append(pack_matrix(matrix, cpu.lanes))
            packed.append(pack_vector(weights[bias], cpu.lanes))
        return packed

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, x = Shape.of(workload), inputs[0]
        conv, pad = weights["conv"], (s.k // 2, s.k // 2)
        part = conv2d_nhwc(x[..., : s.cc], conv, weights["conv_bias"], (1, 1), pad)
        y = np.concatenate([part, x[..., s.cc :]], axis=-1)
        if s.n1:
            y = conv2d_nhwc(y, weights["w1"][:, :, None, None], weights["b1"], (1, 1), (0, 0))
            if self.op == "pconv_pointwise" and workload.text("res") == "pre":
                y = y + inputs[1]
            y = activations.reference(workload.text("act"), y)
        if s.n2:
            y = conv2d_nhwc(y, weights["w2"][:, :, None, None], weights["b2"], (1, 1), (0, 0))
            y = y + x if workload.text("res") != "none" else y
        return [y]

    def macs(self, workload: Workload) -> int:
        s = Shape.of(workload)
        return s.n * s.h * s.w * sum(k * n for _, _, k, n in products(s))

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        s = Shape.of(workload)
        heavy = s.n1 and workload.text("act") in HEAVY_ACTIVATIONS
        split = _default_split(s, cpu)
        rows = _default_rows(s, replace(cpu, threads=1) if split else cpu)
        knobs = {"rb": rows, "ku": 2 if heavy and not cpu.by_lane else 4}
        panels = Panels(s.cc, cpu.lanes)
        # full and narrow panels in one group would broadcast every pixel at two widths
        cnv = 1 if panels.tail and panels.count == 2 else min(2, panels.count)
        most = cpu.tile_pixels(cnv, 2 + cnv)
        cmt = balanced(s.w, min(s.w, most))[0][0]
        cth = 1 if s.wino else 2 if cmt == s.w and 2 * cmt <= most and s.h > 1 else 1
        if s.wino:
            tiles = -(-s.w // s.wino) * -(-knobs["rb"] // s.wino)
            cmt = balanced(tiles, min(tiles, most))[0][0]
        knobs |= {"cmt": cmt, "cnv": cnv, "cth": cth}
        if cpu.threads > 1 and s.n1:
            knobs["split"] = int(split)
        for index, k, n in ((1, s.c, s.n1), (2, s.n1, s.n2)):
            if n:
                small = heavy and index == 1
                nv, few = cpu.heavy_tile if small else (2, 0)
                nv = min(nv, Panels(n, cpu.lanes).count)
                reduction = k // 2 if s.strassen else k
                tallest = min(cpu.tile_pixels(nv, 2 + nv), cpu.resident_pixels(reduction))
                most = few or tallest
                knobs |= {f"mt{index}": min(most, knobs["rb"] * s.w), f"nv{index}": nv}
                knobs[f"order{index}"] = 1
        return knobs

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        s, default = Shape.of(workload), self.default(workload, cpu)
        tall = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 28)
        choices: Space = {
            "rb": [r for r in (1, 2, 3, 4, 5, 7, 8, 14) if r <= s.h],
            "ku": [2, 4, 8],
            "cmt": [m for m in tall if m <= s.w],
            "cnv": [v for v in (1, 2, 3, 4) if v <= Panels(s.cc, cpu.lanes).count],
            "cth": [1] if s.wino else [t for t in (1, 2, 3, 4) if t <= s.h],
        }
        if "split" in default:
            choices["split"] = [0, 1]
        for index, n in ((1, s.n1), (2, s.n2)):
            if n:
                choices[f"mt{index}"] = [m for m in tall if m <= s.h * s.w]
                count = Panels(n, cpu.lanes).count
                choices[f"nv{index}"] = [v for v in (1, 2, 3, 4, 6) if v <= count]
                choices[f"order{index}"] = [0, 1]
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = Shape.of(workload)
        _check_registers(s, cpu, knobs)
        if s.strassen and not all(strassen.fits(k, n) for *_, k, n in products(s)[1:]):
            raise InvalidKnobs("Strassen's product needs channels in multiples of 32")
        rows = min(knobs["rb"], s.h)
        whole, rest = s.h // rows, s.h % rows
        blocks = whole + (1 if rest else 0)
        with (
            IRBuilder() as builder,
            prim_func(self, workload, cpu, name) as args,
            parallel(s.n * blocks, cpu.threads // inner_threads(cpu, knobs)) as task,
        ):
            image, block = task // blocks, task % blocks
            emit = TileEmitter(s, cpu, knobs, args, workload, image, block * rows)
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


def _default_split(s: Shape, cpu: Cpu) -> bool:
    """Whether threads share every product instead of sharing out rows: where rows come out uneven
    and each thread would stream all weights through its own L2. 7 x 7, 1024 channels on two
    threads: 0.94 ms, not 1.11; 14 x 14, 512 channels, where rows are even: equal (Zen 5)."""
    uneven = -(-s.h // cpu.threads) * cpu.threads > 1.1 * s.h
    streamed = _weight_bytes(s) > cpu.l2_bytes // 2
    return bool(cpu.threads > 1 and s.n1 and s.n == 1 and uneven and streamed and not s.strassen)


def _weight_bytes(s: Shape) -> int:
    return FLOAT32.bytes * sum(k * n for _, _, k, n in products(s))


def _default_rows(s: Shape, cpu: Cpu) -> int:
    """Rows per tile: every thread busy and balanced, scratch within the cache.

    Weights that fit L2 leave it half to the scratch; larger ones are streamed once per tile, so
    tiles are then as large as the threads allow.
    """
    per_row = FLOAT32.bytes * s.w * (s.c + 2 * s.cc + s.n1)
    share = -(-s.h // max(1, cpu.threads // s.n))
    if s.strassen:  # its sums are read and written seven times: they must stay near
        sums = max(strassen.scratch_per_row(k, n) for *_, k, n in products(s)[1:])
        per_row += FLOAT32.bytes * s.w * sums
        most = min(share, max(cpu.l2_bytes // 2 // per_row, -(-_STRASSEN_PIXELS // s.w)))
    elif _weight_bytes(s) > cpu.l2_bytes // 2:
        most = max(1, min(share, 2 * cpu.l2_bytes // per_row))
    else:
        most = max(1, min(cpu.l2_bytes // 2 // per_row, -(-s.h * s.n // cpu.threads), 8))
    return even_rows(s.h, most, cpu.threads, s.n)


def _check_registers(s: Shape, cpu: Cpu, knobs: Knobs) -> None:
    tiles = [(knobs["cmt"] * knobs["cth"], knobs["cnv"])]
    tiles += [(knobs[f"mt{i}"], knobs[f"nv{i}"]) for i, n in ((1, s.n1), (2, s.n2)) if n]
    for pixels, nv in tiles:
        cpu.check_tile(pixels, nv)


for _op in ("pconv", "pconv_pointwise", "pconv_block"):
    register(PConvFamily(_op))
