"""What the passes, the tuner and the bundle rely on in every algorithm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.schedules import lab
from tests.schedules.cases import CASES
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import InvalidKnobs
from tvm_flow.schedules.contract.dtypes import INT8
from tvm_flow.schedules.contract.problem import NCHW, NCHW_TO_NHWC, Problem, Workload
from tvm_flow.schedules.operators import conv2d, pconv

EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_key_reads_back(workload: Workload) -> None:
    assert Workload.parse(workload.key) == workload
    assert Problem.parse(workload.problem.key) == workload.problem


DAMAGED = ["conv2d", "conv2d(", "conv2d(a)", "(a=1)", "a b(c=1)", "x(1=2)"]


@pytest.mark.parametrize("key", DAMAGED)
def test_a_damaged_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a problem key"):
        Problem.parse(key)
    with pytest.raises(ValueError, match="not a problem key"):
        Workload.parse(f"{key}:direct")


@pytest.mark.parametrize("key", ["conv2d(a=1)", "conv2d(a=1):", "conv2d(a=1):a b"])
def test_a_workload_names_its_algorithm(key: str) -> None:
    with pytest.raises(ValueError, match="not a workload key"):
        Workload.parse(key)


def test_keys_leave_out_the_usual_layout_and_element_type() -> None:
    problem = Problem.make("conv2d", ci=3, act="relu", layout=NCHW_TO_NHWC, dtype=INT8)
    assert problem.key == "conv2d(act=relu,ci=3,dtype=int8,layout=nchw_to_nhwc)"
    assert Problem.parse(problem.key) == problem
    assert (problem.layout_in, problem.layout_out) == ("nchw", "nhwc")
    assert Problem.make("conv2d", ci=3).key == "conv2d(ci=3)"
    assert Problem.make("conv2d", ci=3, layout=NCHW).layout_out == NCHW
    for wrong in ("layout=hwcn", "dtype=float7"):
        with pytest.raises(ValueError, match="no layout"):
            Problem.parse(f"conv2d({wrong})")


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_every_case_applies_and_belongs_to_its_operator(workload: Workload) -> None:
    algorithm = registry.algorithm(workload)
    for isa in lab.ISA_LEVELS.values():
        assert algorithm.applies(workload.problem, isa.cpu)
        other = replace(workload.problem, dtype=INT8)
        assert not algorithm.applies(other, isa.cpu)
        assert not algorithm.applies(replace(workload.problem, op="other"), isa.cpu)
        found = registry.algorithms(workload.problem, isa.cpu)
        assert found, "nothing to take without records"
        assert len({way.name for way in found}) == len(found)
        assert all(way.applies(workload.problem, isa.cpu) for way in found)


def names(problem: Problem) -> list[str]:
    return [way.name for way in registry.algorithms(problem, lab.AVX2.cpu)]


def test_which_algorithm_comes_first() -> None:
    """Without records the first is taken."""
    same = {"kh": 3, "kw": 3, "ph": 1, "pw": 1}
    wide = conv2d.problem(n=1, h=28, w=28, ci=64, co=64, **same)
    assert names(wide) == ["winograd4", "winograd2", "direct"]
    assert names(conv2d.problem(n=1, h=7, w=7, ci=512, co=512, **same))[0] == "winograd2"
    narrow = conv2d.problem(n=1, h=28, w=28, ci=8, co=64, **same)
    assert names(narrow) == ["direct", "winograd4", "winograd2"]
    assert names(conv2d.problem(n=1, h=28, w=28, ci=64, co=64)) == ["direct"]
    mixed = conv2d.problem(n=1, h=8, w=8, ci=64, co=64, mix=1, bcp=64, **same)
    assert names(mixed) == ["direct"]

    def block(c: int, size: int, k: int = 3) -> list[str]:
        given = {"h": size, "w": size, "c": c, "cc": c // 4, "k": k, "hidden": 2 * c}
        return names(Problem.make("pconv_block", n=1, act="relu", res="pre", **given))

    plain = ["winograd4", "winograd2", "direct"]
    assert block(64, 14) == [*plain, *(f"{name}_strassen" for name in plain)]
    assert block(512, 14)[:3] == ["winograd2", "winograd4", "direct"]
    assert block(40, 56) == ["direct", "winograd4", "winograd2"]  # few channels
    assert block(64, 5)[0] == "direct"  # few pixels
    assert block(64, 14, k=5) == ["direct"]
    alone = Problem.make("pconv", n=1, h=14, w=14, c=64, cc=16, k=3)
    assert names(alone) == plain


def test_a_chain_goes_row_by_row_where_its_hidden_tensor_exceeds_the_last_cache() -> None:
    case = CASES["mbconv Rows"][0].problem
    hidden = 4 * case["n"] * case["h"] * case["w"] * case["hid"]
    cpu = replace(lab.AVX2.cpu, l2_bytes=1024, l3_bytes=hidden)
    assert [way.name for way in registry.algorithms(case, cpu)] == ["whole", "rows"]
    small = replace(cpu, l3_bytes=hidden - 1)
    assert [way.name for way in registry.algorithms(case, small)] == ["rows", "whole"]


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_packed_weights_have_the_announced_shapes(workload: Workload) -> None:
    algorithm, problem = registry.algorithm(workload), workload.problem
    weights = lab.plain_weights(workload)
    for isa in lab.ISA_LEVELS.values():
        specs = algorithm.arguments(problem, isa.cpu)
        roles = [spec.role for spec in specs]
        assert roles == sorted(roles, key=["input", "weight", "output"].index)
        assert len({spec.name for spec in specs}) == len(specs)
        expected = [spec.shape for spec in specs if spec.role == "weight"]
        packed = algorithm.pack(problem, isa.cpu, weights)
        assert [array.shape for array in packed] == expected
        assert all(array.dtype == np.float32 for array in packed)
        assert all(array.flags.c_contiguous for array in packed)


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_costs_are_counted(workload: Workload) -> None:
    algorithm, problem = registry.algorithm(workload), workload.problem
    macs = algorithm.operator.macs(problem)
    assert macs > 0 or not algorithm.operator.weight_shapes(problem)
    assert algorithm.bytes_moved(problem, lab.AVX2.cpu) > 0


def test_costs_of_a_block_by_hand() -> None:
    block = Problem.make(
        "pconv_block", n=1, h=7, w=7, c=40, cc=10, k=3, hidden=80, act="relu", res="pre"
    )
    macs = 49 * (9 * 10 * 10 + 40 * 80 + 80 * 40)
    assert pconv.PCONV_BLOCK.macs(block) == macs


@pytest.mark.parametrize(
    "generator",
    [
        "conv2d Direct",
        "conv2d Winograd",
        "mbconv Rows",
        "mbconv Whole",
        "pconv Fused",
        "pconv_pointwise Fused",
        "pconv_block Fused",
        "conv2d DirectNchw",
    ],
)
def test_a_tile_that_exceeds_the_registers_is_invalid(generator: str) -> None:
    workload = CASES[generator][0]
    algorithm, problem = registry.algorithm(workload), workload.problem
    knobs = algorithm.default(problem, lab.AVX2.cpu)
    tile = {name: 64 for name in knobs if "mt" in name or "nv" in name}
    with pytest.raises(InvalidKnobs):
        algorithm.build(problem, lab.AVX2.cpu, {**knobs, **tile}, "kernel")


def test_an_unknown_operator_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"conv9d.*known: .*pconv_block"):
        registry.operator("conv9d")
    with pytest.raises(KeyError, match=r"conv9d.*known: .*pconv_block"):
        registry.algorithm(Workload(Problem.make("conv9d"), "direct"))
    with pytest.raises(
        KeyError, match=r"no cpu algorithm 'fft' for conv2d.*: direct, narrow, winograd2"
    ):
        registry.algorithm(Workload(Problem.make("conv2d"), "fft"))
