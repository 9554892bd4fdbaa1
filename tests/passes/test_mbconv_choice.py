"""1x1, depthwise, 1x1: one operator or three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.passes.networks import TOLERANCE, Snippet, imported, operators, run
from tests.passes.nodes import NHWC, given, kernel
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, cpu_of
from tvm_flow.ir.choice import Choice, Chooser
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.models.shufflenet import ShuffleUnit
from tvm_flow.passes.cpu.choose_mbconv import choose_mbconv
from tvm_flow.passes.phases import run_phases
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.problem import Problem, Workload
from tvm_flow.schedules.cpu.ops.mbconv.whole import share_macs, share_rows

BOARD = targets.load("native")
ONE, TWO = (cpu_of(BOARD, threads) for threads in (1, 2))


def chain() -> Graph:
    x = given(NHWC)
    window = {"kh": 3, "kw": 3, "sh": 1, "sw": 1, "ph": 1, "pw": 1, "act": "relu"}
    weights = {"weight": np.ones((8, 3, 3), "f"), "bias": np.ones(8, "f")}
    middle = Node("depthwise", [kernel(x, act="relu6")], NHWC, window, weights)
    return Graph([x], [kernel(middle, x, res="pre")])


def recorded(times: Mapping[str, float]) -> Chooser:
    """Records that tell how many microseconds a kernel of an operator takes."""

    def choose(workload: Workload) -> Choice:
        knobs = registry.algorithm(workload).default(workload.problem, ONE)
        name = f"{workload.problem.op} {workload.algorithm}".removesuffix(" direct")
        if name not in times:
            return Choice(knobs, "default")
        return Choice(knobs, "tuned", seconds=1e-6 * times[name])

    return choose


@pytest.mark.parametrize(
    ("times", "one_thread", "two_threads"),
    [
        (
            {"conv2d": 5, "depthwise": 2, "mbconv whole": 11, "mbconv rows": 20},
            True,
            True,
        ),
        (
            {"conv2d": 5, "depthwise": 2, "mbconv whole": 20, "mbconv rows": 11},
            True,
            True,
        ),
        ({"conv2d": 5, "depthwise": 2, "mbconv whole": 12.5}, False, True),
        ({"conv2d": 5, "depthwise": 2, "mbconv whole": 14}, False, False),
        ({"conv2d": 5, "depthwise": 2}, False, False),
        ({"mbconv rows": 5}, True, True),
        ({"mbconv rows": 5, "conv2d": 1}, True, True),
    ],
    ids=["whole", "walk", "close", "slower", "apart_only", "fused_only", "a_part_is_missing"],
)
def test_records_decide(times: dict[str, float], one_thread: bool, two_threads: bool) -> None:
    for cpu, fuses in ((ONE, one_thread), (TWO, two_threads)):
        graph = choose_mbconv(chain(), cpu, recorded(times))
        assert (graph.outputs[0].op == "mbconv") == fuses


def test_without_records_small_chains_are_fused_on_several_threads() -> None:
    def fuses(size: int, threads: int) -> bool:
        unit = Snippet(lambda m, x: m.unit(x), unit=ShuffleUnit(488, 488, 1))
        graph = CPU.optimise(imported(unit, (1, 488, size, size)), layout="NHWC")
        cpu = replace(TWO, threads=threads, lanes=16, fmas=2)
        return operators(choose_mbconv(graph, cpu, CPU.default_choice(cpu))).get("mbconv") == 1

    assert not fuses(2, 1)
    assert fuses(2, 2)
    assert not fuses(28, 2), "a row that both compute takes longer than two loops"


def test_shares_are_equal_and_cover_every_row() -> None:
    given = {"n": 1, "ci": 4, "hid": 6, "co": 5, "mix": 0, "bcp": 0, "bc0": 0, "w": 7}
    assert share_rows(Problem.make("mbconv", h=14, k=3, st=1, **given), 2) == (7, 2, 8)
    assert share_rows(Problem.make("mbconv", h=14, k=3, st=1, **given), 4) == (4, 4, 6)
    assert share_rows(Problem.make("mbconv", h=14, k=3, st=1, **given), 1) == (14, 1, 14)
    assert share_rows(Problem.make("mbconv", h=15, k=5, st=2, **given), 2) == (4, 2, 9)
    assert share_rows(Problem.make("mbconv", h=1, k=7, st=1, **given), 1) == (1, 1, 1)
    work = Problem.make("mbconv", h=7, k=3, st=1, **given)
    hidden, row = 7 * 4 * 6, 7 * 6 * (9 + 5)
    assert share_macs(work, 2) == (5 * hidden + 4 * row, (7 * hidden + 7 * row) / 2)
    assert share_macs(work, 1) == (7 * hidden + 7 * row,) * 2


def test_fused_units_compute_what_pytorch_does() -> None:
    torch.manual_seed(3)
    unit = Snippet(lambda m, x: m.unit(x), unit=ShuffleUnit(20, 20, 1)).eval()
    x = torch.randn(3, 20, 7, 5)
    graph = CPU.optimise(imported(unit, tuple(x.shape)), layout="NHWC")
    graph = choose_mbconv(graph, TWO, CPU.default_choice(TWO))
    assert operators(graph) == {"mbconv": 1}
    (y,) = run(graph, np.ascontiguousarray(x.permute(0, 2, 3, 1)), "NHWC")
    expected = unit(x).permute(0, 2, 3, 1).detach().numpy()
    assert np.abs(y - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_both_ways_are_tuned() -> None:
    first, depthwise, last, whole, walk = CPU.tasks(chain(), TWO)
    assert [task.workload.algorithm for task in (whole, walk)] == ["whole", "rows"]
    parts = (first.problem.key, depthwise.problem.key, last.problem.key)
    assert whole.parts == walk.parts == parts
    assert whole.problem == walk.problem
    assert not any(task.parts for task in (first, depthwise, last))


def test_the_choice_is_a_phase_of_what_is_compiled() -> None:
    """So that it is held against the model as every other one; lowering finds nothing to add."""
    unit = Snippet(lambda m, x: m.unit(x), unit=ShuffleUnit(20, 20, 1)).eval()
    board = replace(targets.load("rk3399"), threads=2)
    choose = CPU.default_choice(CPU.device(board, 2))
    phases = CPU.phases(board, "NCHW", choose)
    assert [name for name, _ in phases][-1] == "choose_mbconv"
    assert "choose_mbconv" not in [name for name, _ in CPU.phases(board, "NCHW")]
    graph = run_phases(imported(unit, (1, 20, 7, 5)), phases)
    assert operators(graph).get("mbconv") == 1
    symbols = [kernel.symbol for kernel in CPU.lower(graph, board, choose=choose).kernels]
    assert sum("mbconv" in symbol for symbol in symbols) == 1
