"""Layers inside kernels: counted by hand, and no more and no less than the kernel itself does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.schedules.cases import CASES
from tvm_flow.analysis.parts import ACT, ADD, CONV, DEPTHWISE, PCONV, SHUFFLE, parts_of
from tvm_flow.analysis.work import ACT_OPERATIONS, work_of
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.algorithms import ALGORITHMS
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.operators import conv2d, depthwise, pooling
from tvm_flow.schedules.operators.activations import ACTIVATIONS
from tvm_flow.tuning.records.files import ZOO, read_log

LOGS = Path(__file__).parents[2] / "tuning_logs"
AVX512 = Cpu(16, 32, 32 << 10, 1 << 20, fmas=1, lookup=True)
#: Of every operator and algorithm.
AWKWARD = [workload for workloads in CASES.values() for workload in workloads]
NEON = Cpu(4, 32, 32 << 10, 1 << 20)


def recorded() -> list[Workload]:
    """Every workload of a committed record: all that the zoo is made of."""
    records = [r for log in LOGS.glob(f"*/{ZOO}") for r in read_log(log, log.parent.name).records]
    return [Workload.parse(key) for key in sorted({record.workload for record in records})]


def block(c: int, pixels: int, **more: int | str) -> Problem:
    return Problem.make(
        "pconv_block", n=1, h=pixels, w=pixels, c=c, cc=c // 4, k=3, hidden=2 * c,
        **{"act": "gelu", "res": "pre", **more},
    )  # fmt: skip


def test_every_operator_with_a_kernel_has_parts() -> None:
    operators = {algorithm.op for algorithm in ALGORITHMS}  # not those that other tests register
    assert operators == {workload.problem.op for workload in AWKWARD}
    assert all(parts_of(workload.problem) for workload in AWKWARD)


@pytest.mark.parametrize("of", ["records", "cases"])
def test_parts_multiply_as_often_as_their_kernel(of: str) -> None:
    workloads = recorded() if of == "records" else AWKWARD
    for workload in workloads:
        operator = registry.operator(workload.problem.op)
        parts = parts_of(workload.problem)
        assert sum(part.macs for part in parts) == operator.macs(workload.problem), workload.key
        assert all(part.access > 0 for part in parts)


def test_a_kernel_moves_what_its_arguments_hold_and_no_more() -> None:
    """Less only where a slice or a stride leaves something out."""
    for workload in [*recorded(), *AWKWARD]:
        algorithm, work = registry.algorithm(workload), work_of(workload, AVX512)
        assert 0 < work.moved <= algorithm.bytes_moved(workload.problem, AVX512), workload.key
        assert work.slots >= work.useful >= 0


def test_memory_access_cost_of_the_shufflenet_paper() -> None:
    (part,) = parts_of(conv2d.problem(n=1, h=28, w=28, ci=116, co=58))
    assert part.kind == CONV
    assert part.access == 28 * 28 * (116 + 58) + 116 * 58
    (part,) = parts_of(conv2d.problem(n=2, h=56, w=56, ci=24, co=48, kh=3, kw=3, sh=2, sw=2,
                                      ph=1, pw=1))  # fmt: skip
    assert part.access == 2 * 56 * 56 * 24 + 2 * 28 * 28 * 48 + 9 * 24 * 48
    (part,) = parts_of(depthwise.problem(n=1, h=14, w=14, c=232))
    assert part.kind == DEPTHWISE
    assert part.access == 2 * 14 * 14 * 232 + 9 * 232


def test_a_stride_wider_than_the_window_reads_less() -> None:
    (part,) = parts_of(conv2d.problem(n=1, h=56, w=56, ci=64, co=128, sh=2, sw=2))
    assert part.reads == 28 * 28 * 64


def test_pconv_touches_its_channels_only() -> None:
    """Equation 4 of the FasterNet paper: h w 2 cp + k^2 cp^2."""
    pconv, first, act, second, add = parts_of(block(80, 28))
    assert pconv.kind == PCONV
    assert pconv.access == 28 * 28 * 2 * 20 + 9 * 20 * 20
    assert first.access == 28 * 28 * (80 + 160) + 80 * 160
    assert (act.kind, act.act, act.access) == (ACT, "gelu", 2 * 28 * 28 * 160)
    assert second.access == 28 * 28 * (160 + 80) + 160 * 80
    assert (add.kind, add.access) == (ADD, 3 * 28 * 28 * 80)


def test_epilogues_cost_memory_accesses_of_their_own() -> None:
    """Guideline 4: what fusing saves is the difference to what the kernel moves."""
    problem = conv2d.problem(n=1, h=14, w=14, ci=116, co=116, act="relu", mix=1, bcp=232, bc0=0)
    conv, act, shuffle = parts_of(problem)
    pixels = 14 * 14
    assert act.access == 2 * pixels * 116
    assert (shuffle.kind, shuffle.access) == (SHUFFLE, 2 * pixels * 232)
    work = work_of(Workload(problem, "direct"), AVX512)
    assert work.read == 4 * pixels * (116 + 116)  # of 232 channels that bypass it, half
    assert work.written == 4 * pixels * 232
    assert 4 * (conv.access + act.access + shuffle.access) > work.moved


def test_slots_count_lanes_that_hold_no_channel() -> None:
    problem = conv2d.problem(n=1, h=10, w=10, ci=10, co=17)
    aligned = conv2d.problem(n=1, h=10, w=10, ci=10, co=16)
    work = work_of(Workload(problem, "direct"), AVX512)
    assert work.useful == 100 * 10 * 17
    assert work.slots > work_of(Workload(aligned, "direct"), AVX512).slots == 100 * 10 * 16


@pytest.mark.parametrize(("algorithm", "fewer"), [("winograd2", 2.25), ("winograd4", 4)])
def test_winograd_multiplies_less_and_transforms(algorithm: str, fewer: float) -> None:
    problem = conv2d.problem(n=1, h=56, w=56, ci=512, co=512, kh=3, kw=3, ph=1, pw=1)
    direct = work_of(Workload(problem, "direct"), AVX512)
    work = work_of(Workload(problem, algorithm), AVX512)
    assert 0.8 * fewer < direct.slots / work.slots < fewer
    assert work.weights > direct.weights


def test_every_activation_has_a_price_and_lookup_lowers_that_of_gelu() -> None:
    assert {"none", *ACT_OPERATIONS} == set(ACTIVATIONS)
    workload = Workload(block(160, 14), "direct")
    plain = work_of(workload, Cpu(16, 32, 32 << 10, 1 << 20, fmas=1))
    assert work_of(workload, AVX512).slots < plain.slots


def test_pooling_multiplies_nothing() -> None:
    given = pooling.problem(n=1, h=112, w=112, c=24, kh=3, kw=3, sh=2, sw=2, ph=1, pw=1, mode="max")
    (part,) = parts_of(given)
    assert part.macs == 0
    assert part.access == 112 * 112 * 24 + 56 * 56 * 24
    assert work_of(Workload(given, "direct"), NEON).slots == 56 * 56 * 9 * 24
