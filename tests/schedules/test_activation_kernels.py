"""Activations as kernels compute them, element by element, against PyTorch in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from schedules import activations, depthwise
from schedules.base import Array
from tests.schedules import lab, torch_reference

CHANNELS, PIXELS = 23, 2000  # whole vectors and a tail of 4 + 2 + 1
GRID = np.linspace(-12, 12, CHANNELS * PIXELS).astype(np.float32)
EXTREME = np.array(
    [0.0, -0.0, 1e-30, -1e-30, 1e-42, -1e-42, 20, -20, 87.5, -87.5, 88.5, -88.5, 104, -104,
     1e4, -1e4, 1e30, -1e30, np.inf, -np.inf],
    np.float32,
)  # fmt: skip

# absolute, over [-12, 12]; a few roundings of float32 at 12 are 2e-6
LIMITS = {"none": 0.0, "relu": 0.0, "relu6": 0.0, "gelu": 2e-6, "hardsigmoid": 2e-7,
          "hardswish": 2e-6, "sigmoid": 2e-7, "silu": 2e-6}  # fmt: skip


def workload(act: str):  # type: ignore[no-untyped-def]
    """A 1x1 depthwise convolution: weight 1 and bias 0 leave the activation."""
    return depthwise.workload(n=1, h=1, w=PIXELS, c=CHANNELS, kh=1, kw=1, ph=0, pw=0, act=act)


@cache
def kernels(machine: lab.Machine) -> dict[str, tuple[lab.Job, Any]]:
    jobs = {act: lab.Job.make(workload(act), machine.cpu) for act in activations.NAMES}
    compiled = lab.compile_jobs(list(jobs.values()), machine.target())
    return {act: (job, compiled[job]) for act, job in jobs.items()}


@pytest.fixture(params=lab.MACHINES.values(), ids=lambda machine: machine.name)
def apply(request: pytest.FixtureRequest) -> Callable[[str, Array], Array]:
    """``apply(activation, values)`` by a kernel."""
    if not request.param.runs_here:
        pytest.skip(f"needs {request.param.flag}")

    def run(act: str, values: Array) -> Array:
        job, kernel = kernels(request.param)[act]
        x = np.resize(values, (1, 1, PIXELS, CHANNELS))
        one = {"weight": np.ones((CHANNELS, 1, 1), np.float32), "bias": np.zeros(CHANNELS, "f")}
        (y,) = lab.run(job, kernel, [x], one)
        return y.reshape(-1)

    return run


def expected(act: str, x: Array) -> Any:
    return torch_reference.ACTIVATIONS[act](torch.from_numpy(x).double()).numpy()


def test_every_activation_has_a_limit() -> None:
    assert set(LIMITS) == set(activations.NAMES) == set(torch_reference.ACTIVATIONS)


@pytest.mark.parametrize("act", activations.NAMES)
def test_error_over_the_usual_range(apply: Callable[[str, Array], Array], act: str) -> None:
    error = np.abs(apply(act, GRID) - expected(act, GRID))
    assert error.max() <= LIMITS[act]


@pytest.mark.parametrize("act", activations.NAMES)
def test_extreme_inputs(apply: Callable[[str, Array], Array], act: str) -> None:
    y = apply(act, EXTREME)[: EXTREME.size]
    torch_says = expected(act, EXTREME).astype(np.float32)
    for x, value, wanted in zip(EXTREME, y, torch_says, strict=True):
        if np.isfinite(wanted):
            assert value == pytest.approx(wanted, rel=1e-6, abs=2e-6), f"{act}({x})"
        elif np.isinf(wanted):
            assert value == wanted, f"{act}({x})"


@pytest.mark.parametrize("act", activations.NAMES)
def test_reference_in_numpy(act: str) -> None:
    finite = EXTREME[np.isfinite(EXTREME)]
    with np.errstate(over="ignore"):
        y = activations.reference(act, np.concatenate([GRID[::7], finite]))
    wanted = expected(act, np.concatenate([GRID[::7], finite])).astype(np.float32)
    np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-7)
