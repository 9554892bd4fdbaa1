"""Bundles made of a few lines of C, without TVM.

A :class:`Toy` says what the bundle is; :func:`write` makes it; ``library.open_bundle`` runs it.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.runtime.library import GLIBC, Array, checksum
from tvm_flow.bundle.plan_file import FileStamp, PlanHeader, plan_bytes
from tvm_flow.codegen.module_source import module_source, symbol_of
from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.runtime_library import sources

ALIGNMENT = 64
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@dataclass(frozen=True)
class Toy:
    """``source``: C that defines ``int SYMBOL(void*, ...)`` for every kernel of ``plan``, 0 for
    success; :data:`SERVICES` stands before it. ``inputs`` and ``outputs``: the names of the plan's.
    """

    plan: Plan
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = ""
    weights: bytes = b""
    name: str = "toy"
    layout: str = "NCHW"
    threads: int = 1
    cores: tuple[int, ...] = ()
    arch: str = platform.machine()
    features: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pictures: tuple[tuple[int, PictureRecipe], ...] = ()
    tolerance: float = 1e-5
    samples: tuple[Array, ...] = ()
    expected: tuple[Array, ...] = ()


#: How kernels reach their runtime: TVM's variables of pointers to functions.
SERVICES = """
#include <stdint.h>
#include <string.h>
#include "module.h"
int (*__TVMBackendParallelLaunch)(tvmf_task, void*, int);
void* (*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
int (*__TVMBackendFreeWorkspace)(int, int, void*);
"""

_NETWORK = """
typedef struct { const float *x, *weights; float* y; } Job;

static int scale_part(int task, tvmf_parallel_env* env, void* data) {
  const Job* job = data;
  for (int i = task * 60 / env->num_task; i < (task + 1) * 60 / env->num_task; i++)
    job->y[i] = job->x[i] * job->weights[i];
  return 0;
}
int scale(void* x, void* weights, void* y) {
  Job job = {x, weights, y};
  return __TVMBackendParallelLaunch(scale_part, &job, 0);
}
// Through memory that the runtime lends for the call.
int sum(void* x, void* bias, void* total) {
  double* partial = __TVMBackendAllocWorkspace(1, 0, 60 * sizeof(double), 2, 64);
  double sum = *(const int64_t*)bias;
  if (!partial) return -1;
  for (int i = 0; i < 60; i++) partial[i] = ((const float*)x)[i];
  for (int i = 0; i < 60; i++) sum += partial[i];
  *(float*)total = (float)sum;
  return __TVMBackendFreeWorkspace(1, 0, partial);
}
int positive(void* x, void* y) {
  for (int i = 0; i < 60; i++) ((uint8_t*)y)[i] = ((const float*)x)[i] > 0;
  return 0;
}
"""


def network(threads: int = 1) -> Toy:
    """Inputs ``x`` (float32 1x3x4x5) and the scalar ``bias`` (int64). Outputs ``y`` = x * weights
    (by a parallel loop, copied), the scalar ``total`` = sum(y) + bias (float32), and ``positive``
    = y > 0 as bool of shape (60,), of a reshape of y."""
    shape, rng = (1, 3, 4, 5), np.random.default_rng(5)
    x = rng.standard_normal(shape, np.float32)
    weights = rng.standard_normal(shape, np.float32)
    bias, y = np.array(7, np.int64), x * weights
    tensors = (
        PlannedTensor(Place.INPUT, shape, "float32", 0),
        PlannedTensor(Place.INPUT, (), "int64", 1),
        PlannedTensor(Place.WEIGHTS, shape, "float32", 0),
        PlannedTensor(Place.ARENA, shape, "float32", 0),
        PlannedTensor(Place.ARENA, (60,), "float32", 0),
        PlannedTensor(Place.OUTPUT, shape, "float32", 0),
        PlannedTensor(Place.OUTPUT, (), "float32", 1),
        PlannedTensor(Place.OUTPUT, (60,), "bool", 2),
    )
    kernels = (
        PlannedKernel("scale", (240, 240, 240), 1),
        PlannedKernel("sum", (240, 8, 4), 1),
        PlannedKernel("positive", (240, 60), 1),
    )
    steps = (Step(0, (0, 2, 3)), Step(1, (3, 1, 6)), Step(2, (4, 7)), Step(None, (3, 5)))
    plan = Plan(tensors, (0, 1), (5, 6, 7), kernels, steps, 256, 256, weights.nbytes)
    total = np.array(y.astype(np.float64).sum() + 7, np.float32)
    return Toy(
        plan, ("x", "bias"), ("y", "total", "positive"), _NETWORK, weights.tobytes(),
        threads=threads, samples=(x, bias), expected=(y, total, (y > 0).reshape(60)),
    )  # fmt: skip


_PAUSE = """
#include <unistd.h>
int pause_for(void* milliseconds, void* done) {
  int64_t wanted = *(const int64_t*)milliseconds;
  if (wanted < 0) return -1;
  usleep((useconds_t)wanted * 1000);
  memcpy(done, milliseconds, sizeof wanted);
  return 0;
}
"""


def pause() -> Toy:
    """A run that takes as many milliseconds as the scalar input (int64) says, and puts it out; it
    fails where that is negative."""
    tensors = tuple(PlannedTensor(place, (), "int64", 0) for place in (Place.INPUT, Place.OUTPUT))
    kernels = (PlannedKernel("pause_for", (8, 8), 1),)
    plan = Plan(tensors, (0,), (1,), kernels, (Step(0, (0, 1)),), 0, 0, 0)
    return Toy(plan, ("milliseconds",), ("done",), _PAUSE)


def copies(*tensors: tuple[tuple[int, ...], str], **settings: Any) -> Toy:
    """As many outputs as inputs, each of the given shape and dtype, and equal to its input.
    ``settings``: other fields of the :class:`Toy`."""
    given = enumerate(tensors)
    inputs = [PlannedTensor(Place.INPUT, shape, dtype, n) for n, (shape, dtype) in given]
    outputs = [replace(tensor, place=Place.OUTPUT) for tensor in inputs]
    count = len(inputs)
    steps = tuple(Step(None, (n, count + n)) for n in range(count))
    numbers = tuple(range(count))
    outs = tuple(range(count, 2 * count))
    plan = Plan((*inputs, *outputs), numbers, outs, (), steps, 0, 0, 0)
    given_names, made_names = (tuple(f"{kind}{n}" for n in numbers) for kind in ("in", "out"))
    return Toy(plan, given_names, made_names, **settings)


def write(toy: Toy, folder: Path) -> Path:
    """Write the bundle into ``folder``, which is made; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "model.so"
    source = folder / "toy.c"
    named = "".join(f"#define {k.symbol} {symbol_of(k.symbol)}\n" for k in toy.plan.kernels)
    as_before = "".join(f"#undef {k.symbol}\n" for k in toy.plan.kernels)
    text = SERVICES + named + toy.source + as_before + module_source(toy.plan.kernels)
    source.write_text(text, encoding="ascii")
    link_library(
        [source], library, arch=toy.arch, libc=GLIBC, exports="tvmf_module",
        flags=[f"-I{sources()}"],
    )  # fmt: skip
    source.unlink()
    (folder / "weights.bin").write_bytes(toy.weights)
    (folder / "plan.bin").write_bytes(plan_of(toy, library.read_bytes()))
    for kind, arrays in (("input", toy.samples), ("expected", toy.expected)):
        for number, array in enumerate(arrays):
            suffix = f"_{number + 1}" if number else ""
            np.save(folder / f"sample_{kind}{suffix}.npy", array)
    return folder


def native_features() -> tuple[str, ...]:
    """Some that this machine has, whichever it is."""
    return ("sse4.2",) if platform.machine() == "x86_64" else ("neon",)


def plan_of(toy: Toy, code: bytes) -> bytes:
    """The content of ``plan.bin`` beside ``code``, the content of ``model.so``."""
    header = PlanHeader(
        model=toy.name, board="this machine", version="test",
        elf_machine=_ELF_MACHINES[toy.arch], features=toy.features, threads=toy.threads,
        cores=toy.cores, alignment=ALIGNMENT, code=_stamp(code), weights=_stamp(toy.weights),
        tolerance=toy.tolerance,
    )  # fmt: skip
    inputs, outputs = (
        [
            TensorInfo(name, toy.plan.tensors[at].shape, toy.plan.tensors[at].dtype)
            for name, at in zip(names, numbers, strict=True)
        ]
        for names, numbers in ((toy.inputs, toy.plan.inputs), (toy.outputs, toy.plan.outputs))
    )
    return plan_bytes(
        header, toy.plan, inputs, outputs, layout=toy.layout, pictures=toy.pictures,
        labels=toy.labels, checksum=checksum,
    )  # fmt: skip


def _stamp(data: bytes) -> FileStamp:
    return FileStamp(len(data), checksum(data))
