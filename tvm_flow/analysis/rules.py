"""What advice looks for, one rule per function: the guidelines of the ShuffleNet V2 paper (arXiv
1807.11164), FasterNet's partial convolution (arXiv 2303.03667), and this project's own kernels.

A rule only proposes; whether a proposal saves anything is up to the peaks or the clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tvm_flow.analysis.finding import Change
from tvm_flow.analysis.layers import Layer
from tvm_flow.analysis.parts import ACT, LAYOUT
from tvm_flow.schedules.contract.problem import NHWC, Problem, Workload
from tvm_flow.schedules.cpu.device import Cpu

#: Widths of a 1x1 more unequal than this are worth a look (G1: its table begins at 1:2).
_UNEQUAL = 2
#: Calls that take more than this part of a layer's time are too many (G3).
_LAUNCH_SHARE = 0.1
#: Symbols of kernels that TVM made by itself and that multiply matrices.
_PRODUCTS = ("conv", "matmul", "dense")
_COSTLY = ("gelu", "silu", "sigmoid", "hardswish", "hardsigmoid")
_CHEAP = "relu"


@dataclass(frozen=True)
class Scene:
    """All that rules may look at. ``n_div``: divider of partial convolutions on the board."""

    layers: tuple[Layer, ...]
    device: Cpu
    n_div: int


Rule = Callable[[Scene], Iterator[Change]]


def _problem(layer: Layer) -> Problem | None:
    return Workload.parse(layer.workload).problem if layer.workload else None


def _changed(problem: Problem, **given: int | str) -> Problem:
    return Problem.of(problem.op, {**dict(problem.params), **given}, problem.layout, problem.dtype)


def _of(scene: Scene, op: str) -> Iterator[tuple[Layer, Problem]]:
    for layer in scene.layers:
        problem = _problem(layer)
        if problem is not None and problem.op == op:
            yield layer, problem


def _pointwise(problem: Problem) -> bool:
    window = [problem[name] for name in ("kh", "kw", "sh", "sw", "ph", "pw")]
    one_group = problem.get("groups", 1) == 1
    return problem.layout == NHWC and one_group and window == [1, 1, 1, 1, 0, 0]


def unequal_widths(scene: Scene) -> Iterator[Change]:
    """G1: a 1x1 of equal widths moves least for its MACs."""
    for layer, problem in _of(scene, "conv2d"):
        ci, co = problem["ci"], problem["co"]
        plain = not problem.get("mix", 0) and problem.text("res") == "none"
        if not (_pointwise(problem) and plain and problem["h"] * problem["w"] > 1):
            continue
        if max(ci, co) >= _UNEQUAL * min(ci, co):
            lanes = scene.device.lanes
            even = max(lanes, lanes * round(math.sqrt(ci * co) / lanes))
            after = _changed(problem, ci=even, co=even, icp=even, ic0=0)
            text = f"{ci}>{co} channels: {even}>{even} has about as many MACs and moves less"
            yield Change("G1 unequal widths", (layer,), text, (after,), per_mac=True)


def many_groups(scene: Scene) -> Iterator[Change]:
    """G2: groups cost memory accesses; a dense convolution of fewer channels has as many MACs. How
    many groups a stage bears is a prior (2-4, 4-8, 8-16 from large pictures to small ones)."""
    for layer, problem in _of(scene, "conv2d"):
        groups, lanes = problem.get("groups", 1), scene.device.lanes
        if groups == 1 or problem["ci"] == groups or problem.get("mix", 0):
            continue
        most = 4 if problem["h"] >= 56 else 8 if problem["h"] >= 28 else 16
        narrow = [max(lanes, lanes * round(problem[c] / math.sqrt(groups) / lanes))
                  for c in ("ci", "co")]  # fmt: skip
        rest = {name: value for name, value in problem.params if name != "groups"}
        after = Problem.of(
            "conv2d", {**rest, "ci": narrow[0], "co": narrow[1], "icp": narrow[0], "ic0": 0},
            problem.layout, problem.dtype,
        )  # fmt: skip
        beyond = f", more than the {most} this stage bears" if groups > most else ""
        text = (
            f"{groups} groups{beyond}: {narrow[0]}>{narrow[1]} channels in one group have about "
            "as many MACs"
        )
        yield Change("G2 groups", (layer,), text, (after,), per_mac=True)


def fragments(scene: Scene) -> Iterator[Change]:
    """G3: kernels so short that calling them shows."""
    for layer in scene.layers:
        p = layer.predicted
        if p.launch > _LAUNCH_SHARE * p.total:
            text = "so little work that the call shows: merge it with a neighbour"
            yield Change("G3 fragmentation", (layer,), text, fraction=p.launch / p.total)


def element_wise(scene: Scene) -> Iterator[Change]:
    """G4: passes over memory that no convolution absorbed."""
    for layer in scene.layers:
        products = any(word in layer.symbol for word in _PRODUCTS)
        if not layer.workload and not products:
            text = f"{layer.symbol} is a pass of its own over {layer.moved / 1e3:.0f} kB: leave it "
            yield Change("G4 element-wise", (layer,), text + "out", fraction=1.0)
        elif layer.workload and {part.kind for part in layer.parts} == {LAYOUT}:
            text = "a change of layout: compile with --layout nhwc and give it such tensors"
            yield Change("G4 element-wise", (layer,), text, fraction=1.0, retrain=False)


def without_kernel(scene: Scene) -> Iterator[Change]:
    """Products in plain loops: a kernel would take a small part of their time."""
    for layer in scene.layers:
        if not layer.workload and any(word in layer.symbol for word in _PRODUCTS):
            text = f"no kernel computes {layer.symbol}: plain loops do; a convolution of one group,"
            share = 1 - layer.predicted.total / layer.time_s if layer.time_s else 0.0
            yield Change(
                "operator without a kernel", (layer,), text + " undilated, evenly padded, has one",
                fraction=max(0.0, share),
            )  # fmt: skip


def idle_lanes(scene: Scene) -> Iterator[Change]:
    """Channels that do not fill vectors: the lanes left over compute zeros."""
    lanes = scene.device.lanes
    for layer in scene.layers:
        widths = {part.channels for part in layer.parts if part.macs and part.channels % lanes}
        if layer.padding > 0 and widths:
            shown = ", ".join(map(str, sorted(widths)))
            aligned = ", ".join(str(-(-width // lanes) * lanes) for width in sorted(widths))
            part = layer.predicted.compute / layer.predicted.total
            text = f"{shown} channels in vectors of {lanes}: {aligned} take the same time"
            yield Change(
                "channel alignment", (layer,), text,
                fraction=part * layer.padding / (1 + layer.padding),
            )  # fmt: skip


def costly_activations(scene: Scene) -> Iterator[Change]:
    """Activations that are many instructions where ReLU is one."""
    for layer in scene.layers:
        problem = _problem(layer)
        acts = [part.act for part in layer.parts if part.kind == ACT and part.act in _COSTLY]
        if problem is None or not acts:
            continue
        names = [key for key, value in problem.params if value in _COSTLY]
        after = _changed(problem, **dict.fromkeys(names, _CHEAP))
        text = f"{' and '.join(dict.fromkeys(acts))}: {_CHEAP} is one instruction"
        yield Change("costly activation", (layer,), text, (after,))


def dense_windows(scene: Scene) -> Iterator[Change]:
    """A 3x3 or larger of equal widths: PConv and a 1x1 see as far for fewer MACs."""
    for layer, problem in _of(scene, "conv2d"):
        k, c = problem["kh"], problem["ci"]
        plain = problem.get("groups", 1) == problem.get("dh", 1) == problem.get("dw", 1) == 1
        plain = plain and not {"pb", "pr"} & dict(problem.params).keys()
        square = problem["kh"] == problem["kw"] > 1 and problem["sh"] == problem["sw"] == 1
        same = problem["ph"] == problem["pw"] == k // 2 and problem["co"] == c
        whole = problem["icp"] == c and not problem.get("mix", 0) and problem.layout == NHWC
        if plain and square and same and whole and c >= 2 * scene.n_div and k % 2:
            after = _partial(problem, c, c, k, scene.n_div)
            text = f"{k}x{k} over {c} channels: PConv over 1/{scene.n_div} of them and a 1x1"
            yield Change("3x3 that PConv would replace", (layer,), text, (after,))


def depthwise(scene: Scene) -> Iterator[Change]:
    """A depthwise convolution and the 1x1 behind it: PConv and that 1x1 are one kernel."""
    for first, second in pairwise(scene.layers):
        one, two = _problem(first), _problem(second)
        if one is None or two is None or (one.op, two.op) != ("depthwise", "conv2d"):
            continue
        c, k = one["c"], one["kh"]
        plain = one.layout == NHWC and not {"dh", "dw", "pb", "pr"} & dict(one.params).keys()
        plain = plain and one["kh"] == one["kw"] and one["sh"] == one["sw"] == 1
        follows = (two["h"], two["w"], two["ci"], two["icp"]) == (one["h"], one["w"], c, c)
        if plain and follows and _pointwise(two) and not two.get("mix", 0) and c >= 2 * scene.n_div:
            after = _partial(two, c, two["co"], k, scene.n_div)
            text = f"depthwise {k}x{k} over {c} channels: PConv over 1/{scene.n_div} of them"
            yield Change("depthwise", (first, second), text, (after,))


def _partial(like: Problem, c: int, co: int, k: int, n_div: int) -> Problem:
    """PConv and a 1x1 with the size, activation and residual of ``like``."""
    return Problem.make(
        "pconv_pointwise", dtype=like.dtype, n=like["n"], h=like["h"], w=like["w"], c=c,
        cc=c // n_div, k=k, co=co, act=like.text("act"), res=like.text("res"),
    )  # fmt: skip


RULES: Sequence[Rule] = (
    unequal_widths, many_groups, fragments, element_wise, without_kernel, idle_lanes,
    costly_activations, dense_windows, depthwise,
)  # fmt: skip
