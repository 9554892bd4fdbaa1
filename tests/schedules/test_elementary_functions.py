"""Functions as vector TIR against float64, over all of fp32: ends, denormals, NaN."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow import targets
from tvm_flow.schedules.cpu.emit.elementary import FUNCTIONS, power
from tvm_flow.schedules.cpu.emit.vector import bind, load, store
from tvm_flow.schedules.cpu.lowering import compile_module, target_of

COUNT = 1 << 16
EXPONENTS = (-3.0, -0.37, 0.25, 1.7, 2.2, 5.0, 0.0)
SMALLEST_NORMAL = 2.0**-126
Reals = NDArray[np.float64]


def _each(function: Callable[[float], float]) -> Callable[[Reals], Reals]:
    return lambda x: np.array([function(value) for value in x])


REFERENCES: dict[str, Callable[[Reals], Reals]] = {
    "tirx.exp": np.exp,
    "tirx.log": np.log,
    "tirx.log2": np.log2,
    "tirx.log10": np.log10,
    "tirx.log1p": np.log1p,
    "tirx.sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tirx.tanh": np.tanh,
    "tirx.erf": _each(math.erf),
    "tirx.rsqrt": lambda x: 1 / np.sqrt(x),
}
#: where they are not 2
ULPS = {"tirx.log2": 2.5, "tirx.log10": 3.0, "tirx.erf": 2.5, "tirx.sigmoid": 2.5}
#: Results that are no normal numbers may become 0, as PyTorch's do: exp is infinite there.
FLUSHED = ("tirx.sigmoid",)


def _kernel(name: str, lanes: int, two: bool, emit: Callable[..., None]) -> tvm.tirx.PrimFunc:
    with IRBuilder() as builder, T.prim_func():
        T.func_name(name)
        x = T.arg("x", T.buffer((COUNT,), "float32"))
        e = T.arg("e", T.buffer((COUNT,), "float32")) if two else x
        y = T.arg("y", T.buffer((COUNT,), "float32"))
        T.func_attr({"global_symbol": name, "tirx.noalias": True, "tirx.is_scheduled": True})
        with T.serial(0, COUNT // lanes) as i:
            emit(x, e, y, i * lanes, lanes)
    return builder.get()


def _one(function: Callable[..., object]) -> Callable[..., None]:
    def emit(x, _e, y, at, width):  # type: ignore[no-untyped-def]
        store(y, function(bind(load(x, at, width), width), width), at, width)

    return emit


def _power(x, e, y, at, width):  # type: ignore[no-untyped-def]
    store(y, power(load(x, at, width), load(e, at, width), width), at, width)


@pytest.fixture(scope="module")
def library() -> tvm.runtime.Module:
    """One kernel per function, for this machine's vectors."""
    board = targets.load("native")
    kernels = {
        name.replace(".", "_"): _kernel(name.replace(".", "_"), board.lanes, False, _one(function))
        for name, function in FUNCTIONS.items()
    }
    kernels["power"] = _kernel("power", board.lanes, True, _power)
    return compile_module(tvm.IRModule(kernels), target_of(board.tvm_target()))


def _run(library: tvm.runtime.Module, name: str, *inputs: np.ndarray) -> np.ndarray:
    out = tvm.runtime.tensor(np.zeros(COUNT, "float32"))
    library[name](*(tvm.runtime.tensor(x) for x in inputs), out)
    return out.numpy()


def _sweep() -> np.ndarray:
    """Every exponent of fp32 with both signs, what lies around 0 and 1 densely, and the ends."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, COUNT, dtype=np.uint64).astype(np.uint32)
    x = bits.view(np.float32).copy()
    half = COUNT // 2
    x[:half] = rng.uniform(-20, 20, half)
    x[:half:4] = rng.uniform(-2, 2, half // 4)
    x[1:half:8] = rng.uniform(-110, 95, half // 8)
    ends = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.17e-38, 88.7, 88.73,
            -87.4, -103.9, -104.5, 3.4e38, -3.4e38]  # fmt: skip
    x[: len(ends)] = ends
    return x


def _check(found: np.ndarray, exact: Reals, ulps: float) -> None:
    """Within ``ulps`` units in the last place, of the smallest normal number below it."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(rounded))
    finite = np.isfinite(rounded) & np.isfinite(found)
    unequal = ~finite & ~np.isnan(rounded) & (found != rounded)
    # at the very end, one of two neighbours may be infinite
    assert np.all(np.abs(exact[unequal]) > 3.4e38), found[unequal]
    unit = np.spacing(np.maximum(np.abs(rounded[finite]), np.float32(SMALLEST_NORMAL)))
    error = np.abs(found[finite].astype(np.float64) - exact[finite]) / unit
    assert error.max() <= ulps, (error.max(), found[finite][error.argmax()])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(library: tvm.runtime.Module, name: str) -> None:
    x = _sweep()
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
    found = _run(library, name.replace(".", "_"), x)
    if name in FLUSHED:
        exact = np.where((found == 0) & (np.abs(exact) < SMALLEST_NORMAL), 0, exact)
    _check(found, exact, ULPS.get(name, 2.0))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_power(library: tvm.runtime.Module, exponent: float) -> None:
    x, e = _sweep(), np.full(COUNT, exponent, np.float32)
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), e.astype(np.float64))
    _check(_run(library, "power", x, e), exact, 4.0)
