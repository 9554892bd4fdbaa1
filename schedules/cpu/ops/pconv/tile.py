"""What PConv operators do for one tile of rows; see ``fused.py`` beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations, strassen, winograd
from tvm_flow.schedules.cpu.emit.activations import Activation
from tvm_flow.schedules.cpu.emit.microkernel import (
    Epilogue,
    Group,
    Segment,
    Tiling,
    Weights,
    apart,
    for_groups,
    for_rows,
    group_count,
    inner_threads,
    microkernel,
    prefetch_slice,
    product,
    shared,
    tile_count,
)
from tvm_flow.schedules.cpu.emit.packing import Panels
from tvm_flow.schedules.cpu.emit.staging import Source, copy_run, stage_rows
from tvm_flow.schedules.cpu.emit.vector import Expr, Value, bind, load_valid, store, store_valid
from tvm_flow.schedules.operators.pconv import PConvShape

Args = Mapping[str, tirx.Buffer]


@dataclass(frozen=True)
class FusedShape(PConvShape):
    """Integers of a problem and its algorithm: ``wino`` x ``wino`` outputs of Winograd's tiles (0:
    direct convolution), ``strassen``: whether the 1x1s are products by Strassen."""

    wino: int = 0
    strassen: bool = False

    @classmethod
    def by(cls, problem: Problem, wino: int, strassen: bool) -> FusedShape:
        return replace(cls.of(problem), wino=wino, strassen=strassen)


class TileEmitter:
    """Emits the stages of one row tile; ``first`` is its first row in ``image``."""

    def __init__(
        self, s: FusedShape, cpu: Cpu, knobs: Knobs, args: Args, problem: Problem, image: Expr,
        first: Expr,
    ) -> None:  # fmt: skip
        self.s, self.cpu, self.knobs, self.args = s, cpu, knobs, args
        self.problem, self.image, self.first = problem, image, first
        self.threads = inner_threads(cpu, knobs)
        self.pixel0 = (image * s.h + first) * s.w

    def block(self, rows: int) -> None:
        """All stages over ``rows`` rows."""
        s = self.s
        if not s.n1:
            self._conv(rows, self._store_output(s.c))
            self._copy_untouched(rows)
            return
        zp = Panels(s.cc, self.cpu.lanes).padded
        z = T.alloc_buffer((rows * s.w * zp,), self.args["x"].dtype)
        self._conv(rows, self._store_scratch(z, zp))
        act = activations.emitter(self.problem.text("act"), self.cpu)
        if not s.n2:
            self._pointwise(1, rows, self._mixed(z, zp), self._finish(act, "residual"))
            return
        hp = apart(Panels(s.n1, self.cpu.lanes).padded, self.cpu.lanes)
        hidden = T.alloc_buffer((rows * s.w * hp,), self.args["x"].dtype)
        self._pointwise(1, rows, self._mixed(z, zp), self._to_hidden(hidden, hp, act))
        self._pointwise(
            2,
            rows,
            lambda p: [Segment(hidden, p * hp, 0, hp, s.n1)],
            self._finish(activations.emitter("none", self.cpu), "x"),
        )

    def _weights(self, index: int) -> Weights:
        weight, bias, k, n = self.s.products[index]
        panels = Panels(n, self.cpu.lanes)
        return Weights(self.args[weight], self.args[bias], panels, k, by_lane=self.cpu.by_lane)

    def _conv(self, rows: int, epilogue: Callable[[Expr, Expr], Epilogue]) -> None:
        """The k x k convolution of the first channels, from a zero-bordered scratch."""
        if self.s.wino:
            self._conv_winograd(rows, epilogue)
            return
        s, knobs, half = self.s, self.knobs, self.s.pad
        source = Source(self.args["x"], s.h, s.w, s.c, s.first, s.cc, half)
        need, pitch = rows + 2 * half, source.width * s.cc
        pad = T.alloc_buffer((need * pitch,), source.buffer.dtype)
        stage_rows(source, pad, self.image, self.first - half, need, need, self.cpu.lanes)
        weights, height = self._weights(0), min(knobs["cth"], rows)
        slices = rows // height * tile_count(s.w, min(knobs["cmt"], s.w))
        taps = Segment(pad, 0, pitch, s.cc, s.k * s.cc, repeats=((s.k, pitch),))
        if s.d > 1:
            taps = replace(taps, k=s.cc, repeats=((s.k, s.d * pitch), (s.k, s.d * s.cc)))

        def tiles(group: Group) -> None:
            for_rows(
                rows, height, s.w, knobs["cmt"],
                lambda tile, y, x, n: microkernel(
                    tile,
                    [taps.at(y * pitch + x * s.cc)],
                    weights, group, epilogue(y, x), knobs["ku"], prefetch_slice(weights, n, slices),
                ),
            )  # fmt: skip

        with shared(group_count(weights.panels, knobs["cnv"]), self.threads) as groups:
            for_groups(weights.panels, knobs["cnv"], tiles, groups)

    def _conv_winograd(self, rows: int, epilogue: Callable[[Expr, Expr], Epilogue]) -> None:
        s, knobs = self.s, self.knobs
        right = winograd.covered(s.w, s.wino) + 1 - s.w
        source = Source(self.args["x"], s.h, s.w, s.c, s.first, s.cc, 1, right=right)
        need, pitch = winograd.covered(rows, s.wino) + 2, source.width * s.cc
        pad = T.alloc_buffer((need * pitch,), source.buffer.dtype)
        stage_rows(source, pad, self.image, self.first - 1, need, need, self.cpu.lanes)
        winograd.WinogradEmitter(
            m=s.wino, rows=rows, width=s.w, ci=s.cc, pad=pad, pitch=pitch,
            weight=self.args["conv"], bias=self.args["conv_bias"],
            panels=Panels(s.cc, self.cpu.lanes),
            tiling=Tiling(knobs["cmt"], knobs["cnv"], knobs["ku"], True), epilogue=epilogue,
            by_lane=self.cpu.by_lane, threads=self.threads,
        ).emit()  # fmt: skip

    def _pointwise(
        self, index: int, rows: int, segments: Callable[[Expr], list[Segment]],
        epilogue: Callable[[Expr], Epilogue],
    ) -> None:  # fmt: skip
        knobs = self.knobs
        tiling = Tiling(
            knobs[f"mt{index}"], knobs[f"nv{index}"], knobs["ku"], bool(knobs[f"order{index}"])
        )
        if not self.s.strassen:
            weights = self._weights(index)
            with shared(group_count(weights.panels, tiling.nv), self.threads) as groups:
                product(rows * self.s.w, tiling, weights, segments, epilogue, groups=groups)
            return
        weight, bias, k, n = self.s.products[index]
        strassen.StrassenEmitter(
            rows=rows * self.s.w, k=k, n=n, weight=self.args[weight], bias=self.args[bias],
            tiling=tiling, segments=segments, epilogue=epilogue, lanes=self.cpu.lanes,
            by_lane=self.cpu.by_lane, threads=self.threads,
        ).emit()  # fmt: skip

    def _mixed(self, z: tirx.Buffer, pitch: int) -> Callable[[Expr], list[Segment]]:
        """Reduction over PConv output, then the input's untouched channels."""
        s = self.s

        def segments(p: Expr) -> list[Segment]:
            found = [Segment(z, p * pitch, 0, pitch, s.cc, k0=s.first)]
            for first, count in s.untouched:
                base = (self.pixel0 + p) * s.c + first
                found.append(Segment(self.args["x"], base, 0, s.c, count, k0=first))
            return found

        return segments

    def _store_scratch(self, z: tirx.Buffer, pitch: int) -> Callable[[Expr, Expr], Epilogue]:
        def at(y: Expr, x: Expr) -> Epilogue:
            def epilogue(
                value: Value, i: Expr, j: Expr, channel: Expr, width: int, _valid: int
            ) -> None:
                pixel = (y + i) * self.s.w + x + j
                store(z, self._inner(value, width), pixel * pitch + channel, width)

            return epilogue

        return at

    def _store_output(self, pitch: int) -> Callable[[Expr, Expr], Epilogue]:
        def at(y: Expr, x: Expr) -> Epilogue:
            def epilogue(
                value: Value, i: Expr, j: Expr, channel: Expr, width: int, valid: int
            ) -> None:
                pixel = self.pixel0 + (y + i) * self.s.w + x + j
                if self.s.inner != "none":
                    value = bind(self._inner(value, width), width)
                at = pixel * pitch + channel + self.s.first
                store_valid(self.args["y"], value, at, width, valid)

            return epilogue

        return at

    def _inner(self, value: Value, width: int) -> Expr:
        """The activation of a vector of the convolved channels."""
        if self.s.inner == "none":
            return value()
        return activations.emitter(self.s.inner, self.cpu)(value, width)

    def _to_hidden(
        self, hidden: tirx.Buffer, pitch: int, act: Activation
    ) -> Callable[[Expr], Epilogue]:
        def at(p: Expr) -> Epilogue:
            def epilogue(
                value: Value, _i: Expr, j: Expr, channel: Expr, width: int, _valid: int
            ) -> None:
                store(hidden, act(value, width), (p + j) * pitch + channel, width)

            return epilogue

        return at

    def _finish(self, act: Activation, residual: str) -> Callable[[Expr], Epilogue]:
        """Residual, activation and the store to the output."""
        has_residual = self.problem.text("res") != "none"

        def at(p: Expr) -> Epilogue:
            def epilogue(
                value: Value, _i: Expr, j: Expr, channel: Expr, width: int, valid: int
            ) -> None:
                where = (self.pixel0 + p + j) * self.s.out + channel
                if has_residual:
                    other = load_valid(self.args[residual], where, width, valid)
                    value = bind(value() + other, width)
                out = bind(act(value, width), width)
                store_valid(self.args["y"], out, where, width, valid)

            return epilogue

        return at

    def _copy_untouched(self, rows: int) -> None:
        s = self.s
        with T.serial(0, rows * s.w) as p:
            for first, count in s.untouched or [(s.c, 0)]:
                at = (self.pixel0 + p) * s.c + first
                copy_run(self.args["y"], at, self.args["x"], at, count, self.cpu.lanes)
