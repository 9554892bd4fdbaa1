"""Partial convolution with the 1x1s after it."""

from __future__ import annotations

from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.algorithm import CpuAlgorithm
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.ops.pconv.fused import Fused
from tvm_flow.schedules.operators.pconv import PCONV, PCONV_BLOCK, PCONV_POINTWISE, PConvShape

#: By operator, size of Winograd's tiles (0: direct), whether the 1x1s are Strassen's.
_FUSED = {
    (operator.op, m, strassen): Fused(operator, m, strassen)
    for operator in (PCONV, PCONV_POINTWISE, PCONV_BLOCK)
    for strassen in ((False, True) if operator is not PCONV else (False,))
    for m in (0, 2, 4)
}
ALGORITHMS: list[CpuAlgorithm] = list(_FUSED.values())

#: Fewest channels and pixels for which Winograd's transforms are worth their while.
WINOGRAD_CHANNELS, WINOGRAD_PIXELS = 16, 49
#: The transformed weights compete for the cache with those of the 1x1s after the convolution: above
#: this many bytes the direct algorithm wins, and F(2x2) above so many channels on small pictures.
WEIGHT_BYTES, F2_CHANNELS, F2_PIXELS = 4 << 20, 96, 196
#: Fewest channels and pixels for which Strassen's product is tried. It saves time per pixel, and
#: every run reads its larger weights once.
STRASSEN_CHANNELS, STRASSEN_PIXELS = 64, 49


def ranked(problem: Problem, cpu: Cpu) -> list[CpuAlgorithm]:
    """Direct, F(2x2) and F(4x4), then each with Strassen's 1x1s where those may be worth it. Only
    records decide that: Strassen's weights are 1.75 times the plain ones."""
    s = PConvShape.of(problem)
    order = _winograd_order(s, problem.dtype.bytes) if s.k == 3 and s.d == 1 else [0]
    big = s.k == 3 and s.h * s.w >= STRASSEN_PIXELS and s.c >= STRASSEN_CHANNELS
    keys = [(problem.op, m, False) for m in order]
    if big and s.n1:
        keys += [(problem.op, m, True) for m in order]
    ways = [_FUSED[key] for key in keys]
    return [way for way in ways if way.applies(problem, cpu)]


def _winograd_order(s: PConvShape, element: int) -> list[int]:
    """Sizes of Winograd's tiles, 0 for the direct convolution; ``element``: bytes of a weight."""
    pixels = s.h * s.w
    winograd = [2, 4] if s.cc >= F2_CHANNELS and pixels <= F2_PIXELS else [4, 2]
    large = 36 * element * s.cc**2 > WEIGHT_BYTES
    pays = s.cc >= WINOGRAD_CHANNELS and pixels >= WINOGRAD_PIXELS and not large
    return [*winograd, 0] if pays else [0, *winograd]
