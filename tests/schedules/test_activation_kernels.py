"""Activations as kernels compute them, element by element, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from tests.schedules import lab, torch_reference
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.schedules.cpu.emit import gelu
from tvm_flow.schedules.operators import depthwise
from tvm_flow.schedules.operators.activations import ACTIVATIONS, activation

CHANNELS, PIXELS = 23, 2000  # whole vectors and a tail of 4 + 2 + 1
GRID = np.linspace(-12, 12, CHANNELS * PIXELS).astype(np.float32)
EXTREME = np.array(
    [0.0, -0.0, 1e-30, -1e-30, 1e-42, -1e-42, 20, -20, 87.5, -87.5, 88.5, -88.5, 104, -104,
     1e4, -1e4, 1e30, -1e30, np.inf, -np.inf],
    np.float32,
)  # fmt: skip

# absolute, over [-12, 12]; a few roundings of float32 at 12 are 2e-6
LIMITS = {"none": 0.0, "relu": 0.0, "relu6": 0.0, "gelu": 1.1e-6, "hardsigmoid": 2e-7,
          "hardswish": 2e-6, "sigmoid": 2e-7, "silu": 2e-6, "tanh": 2e-7, "softplus": 1.1e-6,
          "mish": 2e-6, "gelu_tanh": 2e-6}  # fmt: skip
#: The same of those with numbers.
NUMBERED = {"clip:-1:1": 0.0, "clip:-inf:3": 0.0, "hardswish:0.2:0.5": 2e-6, "silu:1.702": 2e-6,
            "leakyrelu:0.1": 2e-7, "elu:1.0507:1.7581": 1.1e-6}  # fmt: skip
TEXTS = (*ACTIVATIONS, *NUMBERED)


def workload(act: str) -> Workload:
    """A 1x1 depthwise convolution: weight 1 and bias -0 leave the activation."""
    window = {"kh": 1, "kw": 1, "ph": 0, "pw": 0}
    return Workload(depthwise.problem(n=1, h=1, w=PIXELS, c=CHANNELS, act=act, **window), "direct")


@cache
def kernels(isa: lab.IsaLevel) -> dict[str, tuple[lab.Job, Any]]:
    jobs = {act: lab.Job.make(workload(act), isa.cpu) for act in TEXTS}
    compiled = lab.compile_jobs(list(jobs.values()), isa.target())
    return {act: (job, compiled[job]) for act, job in jobs.items()}


def run(isa: lab.IsaLevel, act: str, values: Array) -> Array:
    """An activation of values, repeated to fill the pixels, by a kernel."""
    if not isa.runs_here:
        pytest.skip(f"needs {isa.flag}")
    job, kernel = kernels(isa)[act]
    x = np.resize(values, (1, 1, PIXELS, CHANNELS))
    one = {"weight": np.ones((CHANNELS, 1, 1), np.float32), "bias": -np.zeros(CHANNELS, "f")}
    (y,) = lab.run(job, kernel, [x], one)
    return y.reshape(-1)


@pytest.fixture(params=lab.ISA_LEVELS.values(), ids=lambda isa: isa.name)
def apply(request: pytest.FixtureRequest) -> Callable[[str, Array], Array]:
    """``apply(activation, values)`` by a kernel."""
    return partial(run, request.param)


def expected(act: str, x: Array) -> Any:
    return torch_reference.activated(act, torch.from_numpy(x).double()).numpy()


def test_every_activation_has_a_limit() -> None:
    assert set(LIMITS) == set(ACTIVATIONS) == set(torch_reference.ACTIVATIONS)


@pytest.mark.parametrize("act", TEXTS)
def test_error_over_the_usual_range(apply: Callable[[str, Array], Array], act: str) -> None:
    error = np.abs(apply(act, GRID) - expected(act, GRID))
    assert error.max() <= (LIMITS | NUMBERED)[act]


@pytest.mark.parametrize("act", TEXTS)
def test_extreme_inputs(apply: Callable[[str, Array], Array], act: str) -> None:
    y = apply(act, EXTREME)[: EXTREME.size]
    torch_says = expected(act, EXTREME).astype(np.float32)
    for x, value, wanted in zip(EXTREME, y, torch_says, strict=True):
        if np.isfinite(wanted):
            assert value == pytest.approx(wanted, rel=1e-6, abs=2e-6), f"{act}({x})"
        elif np.isinf(wanted):
            assert value == wanted, f"{act}({x})"
        elif act == "gelu":  # infinity times zero there; here as near to the limit as elsewhere
            assert value == pytest.approx(np.maximum(x, 0), abs=2e-6), f"{act}({x})"
        else:
            assert np.isnan(value), f"{act}({x})"


@pytest.mark.parametrize("act", TEXTS)
def test_nan_stays_nan_in_every_lane(apply: Callable[[str, Array], Array], act: str) -> None:
    x = GRID.copy()
    x[::3] = np.nan  # in turn in every lane: the vectors' widths are no multiples of three
    y = apply(act, x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


def near(values: Array) -> Array:
    """Each value, the two floats on either side of it, and all of their opposites."""
    up, down = np.float32(np.inf), np.float32(-np.inf)
    right, left = np.nextafter(values, up), np.nextafter(values, down)
    around = [values, right, np.nextafter(right, up), left, np.nextafter(left, down)]
    return np.concatenate([np.concatenate(around), -np.concatenate(around)])


def test_gelu_where_its_pieces_meet(apply: Callable[[str, Array], Array]) -> None:
    """In every lane of whole vectors and of tails."""
    edges = (np.arange(len(gelu.PIECES) + 1) + 0.5) / gelu.PIECES_PER_UNIT
    values = near(np.append(edges, [gelu.RANGE, gelu.END]).astype("f"))
    values = np.concatenate([values, EXTREME[np.isfinite(EXTREME)]])
    assert values.size <= PIXELS
    x = np.repeat(values, CHANNELS)
    wanted = expected("gelu", x)
    error = np.abs(apply("gelu", x)[: x.size] - wanted)
    assert (error <= LIMITS["gelu"] + 1e-7 * np.abs(wanted)).all()


def test_gelu_by_pieces_keeps_nan_and_zeros() -> None:
    assert lab.AVX512.cpu.lookup
    values = np.array([np.nan, 0.0, -0.0, -6, -1e30, -np.inf], np.float32)
    y = run(lab.AVX512, "gelu", np.repeat(values, CHANNELS)).reshape(PIXELS, CHANNELS)
    for x, by_table in zip(values, y[:, : lab.AVX512.cpu.lanes], strict=False):
        wanted = np.full(lab.AVX512.cpu.lanes, x if np.isnan(x) or x == 0 else 0.0, np.float32)
        np.testing.assert_array_equal(by_table, wanted)
        if x == 0:
            assert np.array_equal(np.signbit(by_table), np.signbit(wanted))


@pytest.mark.parametrize("act", TEXTS)
def test_reference_in_numpy(act: str) -> None:
    finite = EXTREME[np.isfinite(EXTREME)]
    with np.errstate(over="ignore"):
        y = activation(act, np.concatenate([GRID[::7], finite]))
    wanted = expected(act, np.concatenate([GRID[::7], finite])).astype(np.float32)
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-7)
