"""The peak kernel must do what it counts, and keep it in registers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tvm_flow import targets
from tvm_flow.measure import roofline
from tvm_flow.support.errors import UsageError

BOARD = targets.load("native")


def test_every_step_of_every_chain_is_executed() -> None:
    kernel = roofline.PeakKernel(BOARD)
    kernel.run()
    # x -> x/2 + 1 from 0: after n steps 2 - 2^(1-n), in fp32 exactly 2 from 25 steps on
    np.testing.assert_array_equal(kernel.sums, np.float32(2.0))
    assert kernel.flops == 2 * kernel.sums.size * roofline._STEPS


def test_the_loop_has_one_fma_per_chain_and_no_store() -> None:
    chains = min(24, BOARD.vector_registers - 2)
    compiled = roofline.compile_kernel(
        roofline._fma_kernel(BOARD.lanes, chains), BOARD.tvm_target()
    )
    lines = [line.strip() for line in compiled.mod.inspect_source("asm").splitlines()]
    fma = [i for i, line in enumerate(lines) if re.match(r"v?fmadd|fmla", line)]
    jump = next(i for i in range(fma[-1], len(lines)) if re.match(r"j[a-z]+\s|b\.", lines[i]))
    label = lines[jump].split()[-1]
    loop = lines[lines.index(f"{label}:") : jump]
    count = sum(bool(re.match(r"v?fmadd|fmla", line)) for line in loop)
    assert count % chains == 0
    assert count > 0
    assert not [line for line in loop if re.match(r"v?mov[au]p.*,\s*\S*\(|st[rp]\s", line)]


def test_peak_is_far_above_memory_and_triad_faster_in_cache() -> None:
    peak = roofline.peak_gflops(BOARD, 0.05)
    near = roofline.stream_gbps(BOARD, 0.05, footprint=BOARD.l2_bytes // 4)
    far = roofline.stream_gbps(BOARD, 0.2)
    assert near > far > 0
    assert peak > far / 6  # triad: 2 FLOPs for 12 bytes


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(UsageError):
        roofline.peak_gflops(BOARD, 0)
    with pytest.raises(UsageError):
        roofline.stream_gbps(BOARD, footprint=0)
