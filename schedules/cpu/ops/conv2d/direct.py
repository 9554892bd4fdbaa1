"""2-D convolution by direct summation, group by group.

Three kernels by case: *flat* (1x1, stride 1: pixels are one line), *rows* (no padding: read the
input directly, for example patch embeddings), *staged* (padding: a block of input rows is copied
once into a zero-bordered scratch, so that the microkernel has no boundary test).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder

from tvm_flow.schedules.contract.algorithm import Knobs, Space
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.contract.problem import NCHW_TO_NHWC, NHWC, Problem
from tvm_flow.schedules.contract.tensor import Array, TensorSpec
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm, packed
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.emit import activations
from tvm_flow.schedules.cpu.emit.kernel import prim_func
from tvm_flow.schedules.cpu.emit.microkernel import Weights, tile_count
from tvm_flow.schedules.cpu.emit.packing import Panels, even_rows, pack_matrix, pack_vector
from tvm_flow.schedules.cpu.emit.post import pack_post, post_weights
from tvm_flow.schedules.cpu.ops.conv2d.emit import emit_flat, emit_rows, rows_between
from tvm_flow.schedules.operators.activations import parse
from tvm_flow.schedules.operators.conv2d import CONV2D, Conv2dShape


class Direct(CpuAlgorithm):
    """See the module's text."""

    operator, name = CONV2D, "direct"
    layouts = (NHWC, NCHW_TO_NHWC)

    def weights(self, problem: Problem, device: Cpu) -> list[TensorSpec]:
        s = Conv2dShape.of(problem)
        padded = s.groups * Panels(s.go, device.lanes).padded
        own = packed(problem, weight=s.k * padded, bias=padded)
        return [*own, *post_weights(problem, device, s.co)]

    def pack(self, problem: Problem, device: Cpu, weights: Mapping[str, Array]) -> list[Array]:
        s = Conv2dShape.of(problem)
        order = (1, 2, 3, 0) if s.nchw else (2, 3, 1, 0)  # reduction order of the segments
        matrices, biases = [], []
        for weight in np.split(weights["weight"], s.groups):
            matrix = weight.transpose(order).reshape(s.k, s.go)
            matrices.append(pack_matrix(matrix, device.lanes))
        for bias in np.split(weights["bias"], s.groups):
            biases.append(pack_vector(bias, device.lanes))
        own = [np.concatenate(matrices), np.concatenate(biases)]
        return [*own, *pack_post(problem, device, weights)]

    def default(self, problem: Problem, device: Cpu) -> Knobs:
        s = Conv2dShape.of(problem)
        return default_tile(s, device, problem.text("act"))

    def space(self, problem: Problem, device: Cpu) -> Space:
        s = Conv2dShape.of(problem)
        default = self.default(problem, device)
        pixels = s.n * s.oh * s.ow if s.flat else s.ow
        choices: Space = {
            "nv": [v for v in (1, 2, 3, 4, 6, 8) if v <= Panels(s.go, device.lanes).count],
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
            if device.threads > 1:
                choices["nb"] = [1, 2, 4, 8]
        return {k: sorted({*v, default[k]}) for k, v in choices.items()}

    def build(self, problem: Problem, device: Cpu, knobs: Knobs, name: str) -> tirx.PrimFunc:
        s = Conv2dShape.of(problem)
        panels = Panels(s.go, device.lanes)
        device.check_tile(knobs["mt"] * (1 if s.flat else knobs["th"]), knobs["nv"])
        with IRBuilder() as builder, prim_func(self, problem, device, name) as args:
            weights = Weights(args["weight"], args["bias"], panels, s.k, by_lane=device.by_lane)
            emit = emit_flat if s.flat else emit_rows
            act = activations.emitter(problem.text("act"), device)
            emit(s, device, knobs, args, weights, act, problem.text("res"))
        return builder.get()


#: Activations whose arithmetic is worth overlapping with the next tile's products: a small tile
#: lets the core's out-of-order window do that (decision 0004).
_HEAVY = frozenset(
    {"gelu", "silu", "sigmoid", "hardswish", "tanh", "softplus", "mish", "gelu_tanh", "elu"}
)

#: So few pixels wait for weights from memory, and large tiles use them for more products at once
#: (decision 0004).
_FEW_PIXELS = 64


def is_heavy(act: str) -> bool:
    """Whether an activation is one of those."""
    return parse(act)[0] in _HEAVY


def default_tile(s: Conv2dShape, cpu: Cpu, act: str) -> Knobs:
    """Tile for zero trials.

    A long reduction wants as many pixels as fit beside two panels per group. A short one (first
    layers, few channels) or a heavy activation wants small tiles, so that filling and draining
    the accumulators overlaps with the neighbours' products.
    """
    columns = Panels(s.go, cpu.lanes)
    panels, nv = columns.count, min(2, columns.count)
    # Of two vector widths in a group LLVM keeps the repeated element of A for both: without
    # registers to spare it spills (decision 0004).
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
    streamed = FLOAT32.bytes * s.k * s.go > cpu.l2_bytes
    most = 14 if streamed else min(28, s.oh // (4 * cpu.threads))
    if s.dh > 1 and s.padded:
        most = min(most, _near_rows(s, cpu))
    rows = max(th, even_rows(s.oh, max(1, most), 1 if streamed else cpu.threads, s.n))
    knobs = {"nv": nv, "mt": mt, "ku": 4, "order": 1, "th": th, "rb": rows}
    # Lines and other flat images have too few rows for all threads: panels are shared too.
    shared = streamed or s.n * s.groups * -(-s.oh // rows) < cpu.threads
    return knobs | ({"nb": 2 * cpu.threads if shared else 1} if cpu.threads > 1 else {})


def _near_rows(s: Conv2dShape, cpu: Cpu) -> int:
    """Output rows whose scratch takes half of L2: dilated taps are far apart."""
    row = FLOAT32.bytes * s.gi * (s.w + s.pw + s.right)

    def fits(rows: int) -> bool:
        staged = (rows - 1) * s.sh + 1 + (s.kh - 1) * rows_between(s, rows)
        return row * staged <= cpu.l2_bytes // 2

    return max((rows for rows in range(1, s.oh + 1) if fits(rows)), default=1)


def _default_flat(s: Conv2dShape, cpu: Cpu, act: str, panels: int, nv: int, most: int) -> Knobs:
    pixels = s.n * s.oh * s.ow
    ku = 4
    if pixels < 4:  # matrix-vector product: width instead of height
        nv = min(8, panels)
        most = max(1, cpu.tile_pixels(nv, 3))
    elif s.k <= 32 or is_heavy(act):
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
