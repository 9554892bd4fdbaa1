"""Inner loops for Cortex-A72 and A53 keep accumulators in registers and multiply by lane."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.schedules import lab
from tvm_flow import targets
from tvm_flow.backends.cpu import cpu_of
from tvm_flow.schedules.contract.problem import NCHW, Problem, Workload
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.operators import conv2d, depthwise, pooling

TARGETS = ("rk3399", "rk3399-little")  # Cortex-A72, Cortex-A53
DENSE = {
    "pointwise": conv2d.problem(n=1, h=28, w=28, ci=80, co=160, act="relu"),
    "pointwise_58": conv2d.problem(n=1, h=28, w=28, ci=58, co=58, act="relu"),
    "block": Problem.make(
        "pconv_block", n=1, h=14, w=14, c=160, cc=40, k=3, hidden=320, act="relu", res="pre"
    ),
    "block_gelu": Problem.make(
        "pconv_block", n=1, h=28, w=28, c=80, cc=20, k=3, hidden=160, act="gelu", res="pre"
    ),
}
DEPTHWISE = {
    "depthwise": depthwise.problem(n=1, h=28, w=28, c=116, act="relu"),
    "depthwise_stride": depthwise.problem(n=1, h=56, w=56, c=58, sh=2, sw=2),
    **{
        f"depthwise_nchw_{stride}": depthwise.problem(
            n=1, h=56, w=56, c=58, sh=stride, sw=stride, act="relu", layout=NCHW
        )
        for stride in (1, 2)
    },
}
POOLING = {
    "max_pool": pooling.problem(n=1, h=56, w=56, c=24, kh=3, kw=3, sh=2, sw=2, ph=1, pw=1,
                                mode="max"),
}  # fmt: skip
NARROW = {
    "narrow_4": conv2d.problem(n=1, h=28, w=28, ci=64, co=64, kh=3, kw=3, ph=1, pw=1, groups=16),
}
_LABEL = re.compile(r"^(\.LBB\w+):")
_JUMP = re.compile(r"^\s+(?:b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#?\d+,)\s+(\.LBB\w+)")
_FMLA = re.compile(r"^\s+fmla\s+v(\d+)\.(\w+), v\d+\.\w+, v\d+\.(\w+)(\[\d\])?")


@cache
def assembly(target: str, name: str) -> str:
    board = targets.load(target)
    by = "narrow" if name in NARROW else "direct"
    workload = Workload({**DENSE, **DEPTHWISE, **POOLING, **NARROW}[name], by)
    job = lab.Job.make(workload, cpu_of(board))
    built = lowering.compile_kernel(job.build("kernel"), board.tvm_target())
    return str(built.mod.inspect_source("asm"))


def innermost_loops(text: str) -> list[list[str]]:
    """Instructions of every loop that contains no other loop."""
    lines = text.splitlines()
    labels = {m[1]: n for n, line in enumerate(lines) if (m := _LABEL.match(line))}
    spans = set()
    for end, line in enumerate(lines):
        jump = _JUMP.match(line)
        if jump and labels.get(jump[1], end) < end:
            spans.add((labels[jump[1]], end))
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    code = re.compile(r"^\s+[a-z]")
    return [[x for x in lines[a : b + 1] if code.match(x)] for a, b in sorted(inner)]


def products(loop: list[str]) -> list[re.Match[str]]:
    return [match for line in loop if (match := _FMLA.match(line))]


def hot_loops(target: str, name: str) -> list[list[str]]:
    """Innermost loops that mostly multiply: those that reduce."""
    loops = innermost_loops(assembly(target, name))
    found = [loop for loop in loops if 2 * len(products(loop)) >= len(loop)]
    assert found, f"no loop of {name} is made of multiplications"
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [*DENSE, *NARROW])
def test_dense_kernels_multiply_by_lane_without_spills(target: str, name: str) -> None:
    for loop in hot_loops(target, name):
        assert not [line for line in loop if "[sp" in line]
        if name not in NARROW:  # its loop is over pixels, which it stores
            assert not [line for line in loop if re.match(r"\s+st[rpu]\b", line)]
        multiplied = products(loop)
        by_lane = [m for m in multiplied if m[4] is not None]
        assert len(by_lane) == len(multiplied)
        assert not [line for line in loop if re.match(r"\s+dup\b", line)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["pointwise", "block"])
def test_dense_kernels_use_enough_accumulators(target: str, name: str) -> None:
    """Fourteen independent sums hide the latency of FMLA (7 cycles on A72, one a cycle)."""
    counts = [len({m[1] for m in products(loop)}) for loop in hot_loops(target, name)]
    assert max(counts) >= 14


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_multiplies_whole_vectors_without_spills(target: str, name: str) -> None:
    loops = [loop for loop in innermost_loops(assembly(target, name)) if products(loop)]
    assert loops
    spilt = re.compile(r"^\s+(?:ld|st)\w+\s+[qdsv]\d+.*\[sp")  # of sums; addresses may be reloaded
    assert not [line for loop in loops for line in loop if spilt.match(line)]
    widest = max(loops, key=lambda loop: len(products(loop)))
    assert {m[2] for m in products(widest)} == {"4s"}


@pytest.mark.parametrize("name", ["depthwise", "max_pool"])
def test_a_maximum_that_keeps_nan_is_one_instruction(name: str) -> None:
    text = assembly("rk3399", name)
    assert re.search(r"^\s+fmax\s", text, re.MULTILINE)
    assert not re.search(r"^\s+(fcmgt|fcmge|fmaxnm|fcsel|bsl|bif)\s", text, re.MULTILINE)
