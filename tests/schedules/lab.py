"""Build, compile and run kernels between guard elements, many to a module."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm import tirx

from tests import linked
from tests.schedules.cases import CASES
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import Knobs
from tvm_flow.schedules.contract.problem import NCHW, Problem, Workload
from tvm_flow.schedules.contract.tensor import Array
from tvm_flow.schedules.cpu import lowering
from tvm_flow.schedules.cpu.device import Cpu

GUARD = 64  # elements on either side of a tensor: four AVX-512 vectors
GUARD_BITS = 0x7FC0DEAD  # a NaN, so that a kernel that reads it shows it
TOLERANCE = 1e-5


@dataclass(frozen=True)
class IsaLevel:
    """A vector width to generate for, and an x86 level that has it."""

    name: str
    cpu: Cpu
    mcpu: str
    flag: str  # of /proc/cpuinfo

    def target(self, opt_level: int = 3) -> tvm.target.Target:
        """TVM's target; a low ``opt_level`` compiles four times as fast."""
        return lowering.target_of(
            {
                "kind": "llvm",
                "mtriple": "x86_64-linux-gnu",
                "mcpu": self.mcpu,
                "opt-level": opt_level,
                "num-cores": 2,
            }
        )

    @property
    def runs_here(self) -> bool:
        if platform.machine() != "x86_64":
            return False
        return self.flag in Path("/proc/cpuinfo").read_text().split()


AVX512 = IsaLevel("lanes16", Cpu(16, 32, 32 << 10, 1 << 20, lookup=True), "x86-64-v4", "avx512f")
AVX2 = IsaLevel("lanes8", Cpu(8, 16, 32 << 10, 256 << 10), "x86-64-v3", "avx2")
NARROW = IsaLevel("lanes4", Cpu(4, 32, 32 << 10, 512 << 10), "x86-64-v2", "sse4_2")
"""NEON's lanes and register count, on x86."""

ISA_LEVELS = {isa.name: isa for isa in (AVX512, AVX2, NARROW)}


@dataclass(frozen=True)
class Job:
    """One kernel: a workload with knobs for a CPU."""

    workload: Workload
    cpu: Cpu
    knobs: tuple[tuple[str, int], ...]

    @classmethod
    def make(cls, workload: Workload, cpu: Cpu, knobs: Knobs | None = None) -> Job:
        """``knobs`` default to the algorithm's."""
        if knobs is None:
            knobs = registry.algorithm(workload).default(workload.problem, cpu)
        return cls(workload, cpu, tuple(sorted(knobs.items())))

    def build(self, name: str) -> tirx.PrimFunc:
        """The TIR function. Raises ``InvalidKnobs``."""
        return _generated(self).with_attr("global_symbol", name)


@lru_cache(2048)  # of several tests' kernels; those with default knobs are wanted by three
def _generated(job: Job) -> tirx.PrimFunc:
    algorithm = registry.algorithm(job.workload)
    return algorithm.build(job.workload.problem, job.cpu, dict(job.knobs), "kernel")


def compile_jobs(jobs: Sequence[Job], target: tvm.target.Target) -> dict[Job, Any]:
    """All kernels in one module: job -> callable."""
    functions = {f"kernel_{i}": job.build(f"kernel_{i}") for i, job in enumerate(jobs)}
    library = linked.load(lowering.compile_module(tvm.IRModule(functions), target))
    return {job: library[f"kernel_{i}"] for i, job in enumerate(jobs)}


@cache
def default_kernels(generator: str, isa: IsaLevel) -> dict[Job, Any]:
    """The kernels of every case of ``generator`` with default knobs."""
    jobs = [Job.make(workload, isa.cpu) for workload in CASES[generator]]
    return compile_jobs(jobs, isa.target(3 if isa is AVX512 else 0))


def plain_weights(workload: Workload) -> dict[str, Array]:
    """Random weights that keep the outputs of order 1."""
    rng = np.random.default_rng(1)
    shapes = registry.operator(workload.problem.op).weight_shapes(workload.problem)
    return {
        name: (rng.standard_normal(shape) / max(1, math.prod(shape[1:])) ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


def random_inputs(workload: Workload, cpu: Cpu) -> list[Array]:
    """Random inputs; channels the workload must not read are NaN."""
    rng = np.random.default_rng(2)
    inputs = []
    for spec in registry.algorithm(workload).arguments(workload.problem, cpu):
        if spec.role == "input":
            value = rng.standard_normal(spec.shape, np.float32)
            inputs.append(_hide_unread(workload.problem, spec.name, value))
    return inputs


def _hide_unread(problem: Problem, name: str, value: Array) -> Array:
    params = dict(problem.params)
    keys = {
        "x": ("ic0", "ci") if "ic0" in params else ("c0", "c"),
        "bypass": ("bc0", "co"),
    }.get(name)
    if keys is None or keys[0] not in params:
        return value
    axis = 1 if name == "x" and problem.layout_in == NCHW else 3
    first, count = (problem[key] for key in keys)
    hidden = np.full_like(value, np.nan)
    index = tuple(slice(first, first + count) if i == axis else slice(None) for i in range(4))
    hidden[index] = value[index]
    return hidden


class Guarded:
    """A tensor for a kernel, 64-byte aligned, between guard elements."""

    def __init__(self, value: Array) -> None:
        raw = np.full(value.size + 2 * GUARD + 16, GUARD_BITS, np.uint32)
        start = GUARD + (-(raw.ctypes.data // 4 + GUARD)) % 16
        self.raw, self.inside = raw, slice(start, start + value.size)
        self.array: NDArray[np.float32] = raw.view(np.float32)[self.inside].reshape(value.shape)
        self.array[...] = value
        self.tensor = tvm_ffi.from_dlpack(self.array)

    @property
    def intact(self) -> bool:
        """Whether nothing was written outside the tensor."""
        outside = np.ones(self.raw.size, bool)
        outside[self.inside] = False
        return bool((self.raw[outside] == GUARD_BITS).all())


def run(
    job: Job, kernel: Any, inputs: Sequence[Array], weights: Mapping[str, Array]
) -> list[Array]:
    """Outputs of one kernel; fails if it writes anywhere else, or not everywhere it should.

    Outputs start as NaN; an element that is not written, or computed from what the workload does
    not include, stays or becomes NaN.
    """
    algorithm, problem = registry.algorithm(job.workload), job.workload.problem
    specs = algorithm.arguments(problem, job.cpu)
    packed = iter(algorithm.pack(problem, job.cpu, weights))
    given, arguments = iter(inputs), []
    for spec in specs:
        if spec.role == "output":
            value = np.full(spec.shape, np.nan, np.float32)
        else:
            value = next(given) if spec.role == "input" else next(packed)
        assert value.shape == spec.shape, spec
        arguments.append(Guarded(value))
    before = [argument.raw.copy() for argument in arguments]
    kernel(*(argument.tensor for argument in arguments))
    outputs = []
    for spec, argument, old in zip(specs, arguments, before, strict=True):
        assert argument.intact, f"{spec.name} was written out of bounds"
        if spec.role == "output":
            outputs.append(argument.array.copy())
        else:
            assert np.array_equal(argument.raw, old), f"{spec.name} was written to"
    return outputs


def max_rel_error(value: Array, expected: NDArray[Any]) -> float:
    """Largest difference relative to the largest expected value; NaN where ``value`` has one."""
    return float(np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-30))
