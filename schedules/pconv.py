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
(left out, 2 or 4): compute a 3 x 3 PConv by Winograd F(wino x wino).
Weights: ``conv`` [cc, cc, k, k], ``conv_bias`` [cc], ``w1`` [co or hidden, c], ``b1``, and for
the block ``w2`` [c, hidden], ``b2``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from schedules import activations, winograd
from schedules.base import Array, Cpu, Family, InvalidKnobs, Knobs, Space, TensorSpec, Workload
from schedules.conv2d import HEAVY_ACTIVATIONS
from schedules.kernel import prim_func
from schedules.microkernel import (
    Epilogue,
    Segment,
    Tiling,
    Weights,
    for_groups,
    for_rows,
    microkernel,
    parallel,
    product,
)
from schedules.numpy_ops import conv2d_nhwc
from schedules.packing import Panels, balanced, pack_matrix, pack_vector
from schedules.registry import register
from schedules.staging import Source, copy_run, stage_rows
from schedules.vector import Expr, bind, load_valid, store, store_valid

Args = Mapping[str, tirx.Buffer]


@dataclass(frozen=True)
class Shape:
    """Integers of a workload; ``n1``/``n2`` are output channels of the 1x1s (0: none)."""

    n: int
    h: int
    w: int
    c: int
    cc: int
    k: int
    n1: int
    n2: int
    wino: int

    @classmethod
    def of(cls, workload: Workload) -> Shape:
        base = {name: workload[name] for name in ("n", "h", "w", "c", "cc", "k")}
        base["wino"] = workload.get("wino", 0)
        if workload.op == "pconv_block":
            return cls(**base, n1=workload["hidden"], n2=workload["c"])
        return cls(**base, n1=workload["co"] if workload.op == "pconv_pointwise" else 0, n2=0)

    @property
    def out(self) -> int:
        return self.n2 or self.n1 or self.c


def _products(s: Shape) -> list[tuple[str, str, int, int]]:
    """(weight, bias, reduction length, output channels) of every product, in order."""
    found = [("conv", "conv_bias", s.cc * s.k * s.k, s.cc)]
    if s.n1:
        found.append(("w1", "b1", s.c, s.n1))
    if s.n2:
        found.append(("w2", "b2", s.n1, s.n2))
    return found


class PConvFamily(Family):
    """See the module's text."""

    def __init__(self, op: str) -> None:
        self.op = op

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        s = Shape.of(workload)
        specs = [TensorSpec("x", (s.n, s.h, s.w, s.c), "input")]
        if self.op == "pconv_pointwise" and workload.text("res") != "none":
            specs.append(TensorSpec("residual", (s.n, s.h, s.w, s.n1), "input"))
        for weight, bias, k, n in _products(s):
            panels = Panels(n, cpu.lanes)
            size = k * panels.padded
            if weight == "conv" and s.wino:
                size = winograd.packed_size(s.wino, s.cc, panels)
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
        for weight, bias, k, n in _products(s):
            w = weights[weight]
            if w.ndim == 4 and s.wino:
                packed.append(winograd.pack_weights(w, s.wino, cpu.lanes))
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
        return s.n * s.h * s.w * sum(k * n for _, _, k, n in _products(s))

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        s = Shape.of(workload)
        heavy = s.n1 and workload.text("act") in HEAVY_ACTIVATIONS
        knobs = {"rb": _default_rows(s, cpu), "ku": 2 if heavy else 4}
        panels = Panels(s.cc, cpu.lanes)
        # full and narrow panels in one group would broadcast every pixel at two widths
        cnv = 1 if panels.tail and panels.count == 2 else min(2, panels.count)
        most = (cpu.registers - 2 - cnv) // cnv
        cmt = balanced(s.w, min(s.w, most))[0][0]
        cth = (
            1
            if s.wino
            else 2
            if cmt == s.w and 2 * cmt * cnv <= cpu.registers - 2 - cnv and s.h > 1
            else 1
        )
        if s.wino:
            tiles = -(-s.w // s.wino) * -(-knobs["rb"] // s.wino)
            cmt = balanced(tiles, min(tiles, most))[0][0]
        knobs |= {"cmt": cmt, "cnv": cnv, "cth": cth}
        for index, n in ((1, s.n1), (2, s.n2)):
            if n:
                small = heavy and index == 1
                nv = 1 if small else min(2, Panels(n, cpu.lanes).count)
                most = 8 if small else (cpu.registers - 2 - nv) // nv
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
        rows = min(knobs["rb"], s.h)
        whole, rest = s.h // rows, s.h % rows
        blocks = whole + (1 if rest else 0)
        with (
            IRBuilder() as builder,
            prim_func(self, workload, cpu, name) as args,
            parallel(s.n * blocks, cpu.threads) as task,
        ):
            image, block = task // blocks, task % blocks
            emit = _Emitter(s, cpu, knobs, args, workload, image, block * rows)
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


def _default_rows(s: Shape, cpu: Cpu) -> int:
    """Rows per tile: every thread busy and balanced, scratch within the cache.

    Weights that fit L2 leave it half to the scratch; larger ones are streamed once per tile, so
    tiles are then as large as the threads allow.
    """
    per_row = 4 * s.w * (s.c + 2 * s.cc + s.n1)
    weights = 4 * sum(k * n for _, _, k, n in _products(s))
    if weights > cpu.l2_bytes // 2:
        share = -(-s.h // max(1, cpu.threads // s.n))
        return balanced(s.h, max(1, min(share, 2 * cpu.l2_bytes // per_row)))[0][0]
    fit = max(1, cpu.l2_bytes // 2 // per_row)
    tasks = 1 if cpu.threads == 1 else max(cpu.threads, -(-2 * cpu.threads // s.n))
    share = max(1, s.h // tasks if s.h >= 2 * tasks else -(-s.h // cpu.threads))
    return balanced(s.h, min(fit, share, 8))[0][0]


def _check_registers(s: Shape, cpu: Cpu, knobs: Knobs) -> None:
    tiles = [(knobs["cmt"] * knobs["cth"], knobs["cnv"])]
    tiles += [(knobs[f"mt{i}"], knobs[f"nv{i}"]) for i, n in ((1, s.n1), (2, s.n2)) if n]
    for pixels, nv in tiles:
        if pixels * nv > cpu.registers - 1 - min(nv, 2):
            raise InvalidKnobs(f"{pixels}x{nv} accumulators do not fit {cpu.registers}")


class _Emitter:
    """Emits the stages of one row tile; ``first`` is its first row in ``image``."""

    def __init__(
        self, s: Shape, cpu: Cpu, knobs: Knobs, args: Args, workload: Workload, image: Expr,
        first: Expr,
    ) -> None:  # fmt: skip
        self.s, self.cpu, self.knobs, self.args = s, cpu, knobs, args
        self.workload, self.image, self.first = workload, image, first
        self.pixel0 = (image * s.h + first) * s.w

    def block(self, rows: int) -> None:
        """All stages over ``rows`` rows."""
        s = self.s
        if not s.n1:
            self._conv(rows, self._store_output(s.c))
            self._copy_untouched(rows)
            return
        zp = Panels(s.cc, self.cpu.lanes).padded
        z = T.alloc_buffer((rows * s.w * zp,), "float32")
        self._conv(rows, self._store_scratch(z, zp))
        act = self.workload.text("act")
        if not s.n2:
            self._pointwise(1, rows, self._mixed(z, zp), self._finish(act, "residual"))
            return
        hp = Panels(s.n1, self.cpu.lanes).padded
        hidden = T.alloc_buffer((rows * s.w * hp,), "float32")
        self._pointwise(1, rows, self._mixed(z, zp), self._to_hidden(hidden, hp, act))
        self._pointwise(
            2, rows, lambda p: [Segment(hidden, p * hp, 0, hp, s.n1)], self._finish("none", "x")
        )

    def _weights(self, index: int) -> Weights:
        weight, bias, k, n = _products(self.s)[index]
        return Weights(self.args[weight], self.args[bias], Panels(n, self.cpu.lanes), k)

    def _conv(self, rows: int, epilogue: Callable[[Expr, Expr], Epilogue]) -> None:
        """The k x k convolution of the first channels, from a zero-bordered scratch."""
        if self.s.wino:
            self._conv_winograd(rows, epilogue)
            return
        s, knobs, half = self.s, self.knobs, self.s.k // 2
        source = Source(self.args["x"], s.h, s.w, s.c, 0, s.cc, half)
        need, pitch = rows + 2 * half, source.width * s.cc
        pad = T.alloc_buffer((need * pitch,), "float32")
        stage_rows(source, pad, self.image, self.first - half, need, need, self.cpu.lanes)
        weights = self._weights(0)

        def tiles(group) -> None:  # type: ignore[no-untyped-def]
            for_rows(
                rows, min(knobs["cth"], rows), s.w, knobs["cmt"],
                lambda tile, y, x: microkernel(
                    tile,
                    [
                        Segment(
                            pad, y * pitch + x * s.cc, pitch, s.cc, s.k * s.cc,
                            repeats=((s.k, pitch),),
                        )
                    ],
                    weights, group, epilogue(y, x), knobs["ku"],
                ),
            )  # fmt: skip

        for_groups(weights.panels, knobs["cnv"], tiles)

    def _conv_winograd(self, rows: int, epilogue: Callable[[Expr, Expr], Epilogue]) -> None:
        s, knobs = self.s, self.knobs
        right = winograd.covered(s.w, s.wino) + 1 - s.w
        source = Source(self.args["x"], s.h, s.w, s.c, 0, s.cc, 1, right=right)
        need, pitch = winograd.covered(rows, s.wino) + 2, source.width * s.cc
        pad = T.alloc_buffer((need * pitch,), "float32")
        stage_rows(source, pad, self.image, self.first - 1, need, need, self.cpu.lanes)
        winograd.Winograd(
            m=s.wino, rows=rows, width=s.w, ci=s.cc, pad=pad, pitch=pitch,
            weight=self.args["conv"], bias=self.args["conv_bias"],
            panels=Panels(s.cc, self.cpu.lanes),
            tiling=Tiling(knobs["cmt"], knobs["cnv"], knobs["ku"], True), epilogue=epilogue,
        ).emit()  # fmt: skip

    def _pointwise(
        self, index: int, rows: int, segments: Callable[[Expr], list[Segment]],
        epilogue: Callable[[Expr], Epilogue],
    ) -> None:  # fmt: skip
        knobs = self.knobs
        tiling = Tiling(
            knobs[f"mt{index}"], knobs[f"nv{index}"], knobs["ku"], bool(knobs[f"order{index}"])
        )
        product(rows * self.s.w, tiling, self._weights(index), segments, epilogue)

    def _mixed(self, z: tirx.Buffer, pitch: int) -> Callable[[Expr], list[Segment]]:
        """Reduction over PConv output, then the input's untouched channels."""
        s = self.s
        untouched = s.c - s.cc

        def segments(p: Expr) -> list[Segment]:
            found = [Segment(z, p * pitch, 0, pitch, s.cc)]
            if untouched:
                base = (self.pixel0 + p) * s.c + s.cc
                found.append(Segment(self.args["x"], base, 0, s.c, untouched, k0=s.cc))
            return found

        return segments

    def _store_scratch(self, z: tirx.Buffer, pitch: int) -> Callable[[Expr, Expr], Epilogue]:
        def at(y: Expr, x: Expr) -> Epilogue:
            def epilogue(value, i, j, channel, width, _valid):  # type: ignore[no-untyped-def]
                pixel = (y + i) * self.s.w + x + j
                store(z, value(), pixel * pitch + channel, width)

            return epilogue

        return at

    def _store_output(self, pitch: int) -> Callable[[Expr, Expr], Epilogue]:
        def at(y: Expr, x: Expr) -> Epilogue:
            def epilogue(value, i, j, channel, width, valid):  # type: ignore[no-untyped-def]
                pixel = self.pixel0 + (y + i) * self.s.w + x + j
                store_valid(self.args["y"], value, pixel * pitch + channel, width, valid)

            return epilogue

        return at

    def _to_hidden(self, hidden: tirx.Buffer, pitch: int, act: str) -> Callable[[Expr], Epilogue]:
        def at(p: Expr) -> Epilogue:
            def epilogue(value, _i, j, channel, width, _valid):  # type: ignore[no-untyped-def]
                out = activations.emit(act, value, width)
                store(hidden, out, (p + j) * pitch + channel, width)

            return epilogue

        return at

    def _finish(self, act: str, residual: str) -> Callable[[Expr], Epilogue]:
        """Residual, activation and the store to the output."""
        has_residual = self.workload.text("res") != "none"

        def at(p: Expr) -> Epilogue:
            def epilogue(value, _i, j, channel, width, valid):  # type: ignore[no-untyped-def]
                where = (self.pixel0 + p + j) * self.s.out + channel
                if has_residual:
                    other = load_valid(self.args[residual], where, width, valid)
                    value = bind(value() + other, width)
                out = bind(activations.emit(act, value, width), width)
                store_valid(self.args["y"], out, where, width, valid)

            return epilogue

        return at

    def _copy_untouched(self, rows: int) -> None:
        s = self.s
        with T.serial(0, rows * s.w) as p:
            at = (self.pixel0 + p) * s.c + s.cc
            copy_run(self.args["y"], at, self.args["x"], at, s.c - s.cc, self.cpu.lanes)


for _op in ("pconv", "pconv_pointwise", "pconv_block"):
    register(PConvFamily(_op))
