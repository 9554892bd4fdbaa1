"""Dense 2-D convolution (and linear layers): bias, activation, residual, channel shuffle fused.

``conv2d`` workload parameters
  n, h, w, ci, co        batch, input height and width, channels read, channels written
  kh, kw, sh, sw, ph, pw kernel, stride, symmetric zero padding
  icp, ic0               channels of the input tensor and first one read (a slice costs nothing)
  nchw                   1 if the input is NCHW (the first layer of a network), else NHWC
  act, res               activation; residual "none", "pre" (before act) or "post" (after)
  mix                    1: output channel 2i comes from the ``bypass`` input, 2i+1 is computed
                         here (ShuffleNet's concat and shuffle folded into the store)
  bcp, bc0               channels of the bypass tensor and first one read

Three kernels by case: *flat* (1x1, stride 1: pixels are one line), *rows* (no padding: read the
input directly, for example patch embeddings), *staged* (padding: a block of input rows is copied
once into a zero-bordered scratch, so that the microkernel has no boundary test).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from tvm_flow.schedules.contract.base import Array, Cpu, Family, Knobs, Space, TensorSpec, Workload
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Weights, tile_count
from tvm_flow.schedules.cpu.emit.packing import Panels, even_rows, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.ops.conv2d.emit import Shape, emit_flat, emit_rows
from tvm_flow.schedules.cpu.reference import conv2d_nhwc
from tvm_flow.schedules.registry import register


def workload(**given: int | str) -> Workload:
    """A ``conv2d`` workload; everything but n, h, w, ci, co has a default."""
    full: dict[str, int | str] = {
        "kh": 1, "kw": 1, "sh": 1, "sw": 1, "ph": 0, "pw": 0, "ic0": 0, "nchw": 0,
        "icp": given["ci"], "act": "none", "res": "none", "mix": 0, "bcp": 0, "bc0": 0,
    }  # fmt: skip
    return Workload.make("conv2d", **{**full, **given})


class Conv2d(Family):
    """See the module's text."""

    op = "conv2d"

    def arguments(self, workload: Workload, cpu: Cpu) -> list[TensorSpec]:
        s, panels = Shape.of(workload), Panels(workload["co"], cpu.lanes)
        x = (s.n, s.icp, s.h, s.w) if s.nchw else (s.n, s.h, s.w, s.icp)
        specs = [TensorSpec("x", x, "input")]
        if workload.text("res") != "none":
            specs.append(TensorSpec("residual", (s.n, s.oh, s.ow, s.co), "input"))
        if s.mix:
            specs.append(TensorSpec("bypass", (s.n, s.oh, s.ow, s.bcp), "input"))
        return [
            *specs,
            TensorSpec("weight", (s.k * panels.padded,), "weight"),
            TensorSpec("bias", (panels.padded,), "weight"),
            TensorSpec("y", (s.n, s.oh, s.ow, s.co * (2 if s.mix else 1)), "output"),
        ]

    def weight_shapes(self, workload: Workload) -> dict[str, tuple[int, ...]]:
        s = Shape.of(workload)
        return {"weight": (s.co, s.ci, s.kh, s.kw), "bias": (s.co,)}

    def pack(self, workload: Workload, cpu: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        s = Shape.of(workload)
        order = (1, 2, 3, 0) if s.nchw else (2, 3, 1, 0)  # reduction order of the segments
        matrix = weights["weight"].transpose(order).reshape(s.k, s.co)
        return [pack_matrix(matrix, cpu.lanes), pack_vector(weights["bias"], cpu.lanes)]

    def reference(
        self, workload: Workload, inputs: Sequence[Array], weights: Mapping[str, Array]
    ) -> list[Array]:
        s, act, res = Shape.of(workload), workload.text("act"), workload.text("res")
        rest = list(inputs)
        x = rest.pop(0)
        x = x.transpose(0, 2, 3, 1) if s.nchw else x
        x = x[..., s.ic0 : s.ic0 + s.ci]
        y = conv2d_nhwc(x, weights["weight"], weights["bias"], (s.sh, s.sw), (s.ph, s.pw))
        y = y + rest.pop(0) if res == "pre" else y
        y = activations.reference(act, y)
        y = y + rest.pop(0) if res == "post" else y
        if s.mix:
            both = np.stack([rest.pop(0)[..., s.bc0 : s.bc0 + s.co], y], axis=-1)
            y = both.reshape(*y.shape[:3], 2 * s.co)
        return [np.ascontiguousarray(y)]

    def macs(self, workload: Workload) -> int:
        s = Shape.of(workload)
        return s.n * s.oh * s.ow * s.co * s.k

    def default(self, workload: Workload, cpu: Cpu) -> Knobs:
        s = Shape.of(workload)
        return default_tile(s, cpu, workload.text("act"))

    def space(self, workload: Workload, cpu: Cpu) -> Space:
        s = Shape.of(workload)
        default = self.default(workload, cpu)
        pixels = s.n * s.oh * s.ow if s.flat else s.ow
        choices: Space = {
            "nv": [v for v in (1, 2, 3, 4, 6, 8) if v <= Panels(s.co, cpu.lanes).count],
            "mt": [m for m in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 28) if m <= pixels],
            "ku": [1, 2, 4, 8],
            "order": [0, 1],
        }
        if s.flat:
            choices["mb"] = [1, 2, 4, 6, 7, 8, 16, 32]
            choices["nb"] = [1, 2, 4, 8]
        else:
            choices["th"] = [t for t in (1, 2, 3) if t <= s.oh]
            choices["rb"] = [r for r in (1, 2, 3, 4, 7, 8, 14, 16, 28) if r <= s.oh]
            if cpu.threads > 1:
                choices["nb"] = [1, 2, 4, 8]
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, workload: Workload, cpu: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = Shape.of(workload)
        panels = Panels(s.co, cpu.lanes)
        cpu.check_tile(knobs["mt"] * (1 if s.flat else knobs["th"]), knobs["nv"])
        with IRBuilder() as builder, prim_func(self, workload, cpu, name) as args:
            weights = Weights(args["weight"], args["bias"], panels, s.k, by_lane=cpu.by_lane)
            emit = emit_flat if s.flat else emit_rows
            act = activations.emitter(workload.text("act"), cpu)
            emit(s, cpu, knobs, args, weights, act, workload.text("res"))
        return builder.get()


#: Activations whose arithmetic is worth overlapping with the next tile's products. A small tile
#: lets the core's out-of-order window do that: measured, GELU then costs almost nothing.
HEAVY_ACTIVATIONS = frozenset({"gelu", "silu", "sigmoid", "hardswish"})

#: So few pixels wait for weights from memory, and large tiles use them for more products at once:
#: 960 > 320 channels at 7 x 7 took 141 us in tiles of 7, 122 in tiles of 13 (Zen 5,
#: ``python -m benchmarks.kernels --cold-mib 14``).
_FEW_PIXELS = 64


def default_tile(s: Shape, cpu: Cpu, act: str) -> Knobs:
    """Tile for zero trials.

    A long reduction wants as many pixels as fit beside two panels per group. A short one (first
    layers, few channels) or a heavy activation wants small tiles, so that filling and draining
    the accumulators overlaps with the neighbours' products.
    """
    columns = Panels(s.co, cpu.lanes)
    panels, nv = columns.count, min(2, columns.count)
    # Two vector widths in a group: LLVM needs registers for both, or it spills. 144 > 24 channels
    # at 56 x 56 took 169 us in tiles of 14 pixels, 117 in tiles of 12 (Zen 5, benchmarks.kernels).
    mixed = bool(columns.tail) and nv > 1 and panels % nv == 0
    most = cpu.tile_pixels(nv, 8 if mixed and cpu.registers >= 32 else 3)
    if s.flat:
        return _default_flat(s, cpu, act, panels, nv, most)
    if s.nchw or s.k <= 32:
        mt, th = min(s.ow, 3), min(s.oh, 2)
    else:
        mt = min(s.ow, most)
        mt = -(-s.ow // -(-s.ow // mt))
        th = max(1, min(s.oh, most // mt, 2)) if s.ow == mt else 1
    # Weights that do not stay in L2 are read once per task: tasks of few panels and many rows.
    streamed = FLOAT32.bytes * s.k * s.co > cpu.l2_bytes
    most = 14 if streamed else min(28, s.oh // (4 * cpu.threads))
    rows = max(th, even_rows(s.oh, max(1, most), 1 if streamed else cpu.threads, s.n))
    knobs = {"nv": nv, "mt": mt, "ku": 4, "order": 1, "th": th, "rb": rows}
    return knobs | ({"nb": 2 * cpu.threads if streamed else 1} if cpu.threads > 1 else {})


def _default_flat(s: Shape, cpu: Cpu, act: str, panels: int, nv: int, most: int) -> Knobs:
    pixels = s.n * s.oh * s.ow
    ku = 4
    if pixels < 4:  # matrix-vector product: width instead of height
        nv = min(8, panels)
        most = max(1, cpu.tile_pixels(nv, 3))
    elif s.k <= 32 or act in HEAVY_ACTIVATIONS:
        (nv, most), ku = cpu.heavy_tile, 4 if cpu.by_lane else 2
        nv = min(nv, panels)
    elif pixels <= _FEW_PIXELS:
        most = -(-pixels // -(-pixels // most))
    else:
        most = min(most, cpu.resident_pixels(s.k))
    mt = min(pixels, most)
    tiles = tile_count(pixels, mt)
    blocks = max(1, tiles // max(1, 4 * cpu.threads))
    chunk = 1 if tiles >= 4 * cpu.threads else min(8, max(1, panels // nv))
    return {"nv": nv, "mt": mt, "ku": ku, "order": 1, "mb": min(16, blocks), "nb": chunk}


register(Conv2d())
