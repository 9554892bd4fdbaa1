"""What the passes, the tuner and the bundle rely on in every operator family."""

from __future__ import annotations

import numpy as np
import pytest

from tests.schedules import lab
from tests.schedules.cases import CASES
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.base import InvalidKnobs, Workload

EVERY_CASE = [workload for workloads in CASES.values() for workload in workloads]


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_key_reads_back(workload: Workload) -> None:
    assert Workload.parse(workload.key) == workload


@pytest.mark.parametrize("key", ["conv2d", "conv2d(", "conv2d(a)", "(a=1)", "a b(c=1)", "x(1=2)"])
def test_a_damaged_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not a workload key"):
        Workload.parse(key)


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_packed_weights_have_the_announced_shapes(workload: Workload) -> None:
    family = registry.lookup(workload.op)
    weights = lab.plain_weights(workload)
    for machine in lab.MACHINES.values():
        specs = family.arguments(workload, machine.cpu)
        roles = [spec.role for spec in specs]
        assert roles == sorted(roles, key=["input", "weight", "output"].index)
        assert len({spec.name for spec in specs}) == len(specs)
        expected = [spec.shape for spec in specs if spec.role == "weight"]
        packed = family.pack(workload, machine.cpu, weights)
        assert [array.shape for array in packed] == expected
        assert all(array.dtype == np.float32 for array in packed)
        assert all(array.flags.c_contiguous for array in packed)


@pytest.mark.parametrize("workload", EVERY_CASE, ids=str)
def test_costs_are_counted(workload: Workload) -> None:
    family = registry.lookup(workload.op)
    macs = family.macs(workload)
    assert macs > 0 or not family.weight_shapes(workload)
    assert family.bytes_moved(workload, lab.AVX2.cpu) > 0


def test_costs_of_a_block_by_hand() -> None:
    block = Workload.make(
        "pconv_block", n=1, h=7, w=7, c=40, cc=10, k=3, hidden=80, act="relu", res="pre"
    )
    macs = 49 * (9 * 10 * 10 + 40 * 80 + 80 * 40)
    assert registry.lookup("pconv_block").macs(block) == macs


@pytest.mark.parametrize(
    "op",
    [
        "conv2d",
        "conv2d_winograd",
        "mbconv",
        "mbconv_whole",
        "pconv",
        "pconv_pointwise",
        "pconv_block",
        "pointwise_nchw",
    ],
)
def test_a_tile_that_exceeds_the_registers_is_invalid(op: str) -> None:
    workload, family = CASES[op][0], registry.lookup(op)
    knobs = family.default(workload, lab.AVX2.cpu)
    tile = {name: 64 for name in knobs if "mt" in name or "nv" in name}
    with pytest.raises(InvalidKnobs):
        family.build(workload, lab.AVX2.cpu, {**knobs, **tile}, "kernel")


def test_an_unknown_operator_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"conv9d.*known: .*pconv_block"):
        registry.lookup("conv9d")
