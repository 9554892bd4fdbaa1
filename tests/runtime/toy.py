"""Bundles made of a few lines of C and no compiler of networks, and libtvm_flow through ctypes.

A :class:`Toy` says what the bundle is; :func:`write` makes it; :func:`open_toy` loads and opens it.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.bundle.plan_file import FileStamp, PlanHeader, plan_bytes
from tvm_flow.codegen.module_source import module_source
from tvm_flow.ir.lowered import TensorInfo
from tvm_flow.ir.picture import PictureRecipe
from tvm_flow.ir.plan import Place, Plan, PlannedKernel, PlannedTensor, Step
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.runtime_library import RUNNER, SHARED, runtime_library, sources

Array = NDArray[Any]

OK, USAGE, BUSY, BUNDLE, NUMERICS, ENVIRONMENT = 0, 2, 3, 7, 8, 10
PIN, UNCHECKED = 1, 2
GLIBC = "2.28"
ALIGNMENT = 64
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}


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
    names = [tuple(f"{kind}{n}" for n in numbers) for kind in ("in", "out")]
    return Toy(plan, *names, **settings)


def write(toy: Toy, folder: Path) -> Path:
    """Write the bundle into ``folder``, which is made; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "model.so"
    source = folder / "toy.c"
    source.write_text(SERVICES + toy.source + module_source(toy.plan.kernels), encoding="ascii")
    link_library(
        [source], library, arch=platform.machine(), libc=GLIBC, exports="tvmf_module",
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


def plan_of(toy: Toy, code: bytes) -> bytes:
    """The content of ``plan.bin`` beside ``code``, the content of ``model.so``."""
    header = PlanHeader(
        model=toy.name, board="this machine", version="test",
        elf_machine=_ELF_MACHINES[platform.machine()], features=toy.features, threads=toy.threads,
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


def checksum(data: bytes) -> int:
    """XXH64 as the library computes it."""
    return int(library().tvmf_checksum(data, len(data)))


# ---- The library


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("set", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("cores", ctypes.POINTER(ctypes.c_int32)),
        ("core_count", ctypes.c_int32),
    ]


class TensorDescription(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("layout", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_uint64)),
        ("dimensions", ctypes.c_int32),
        ("type", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("bytes", ctypes.c_uint64),
    ]


@functools.cache
def runner() -> Path:
    """The program ``runner``."""
    return runtime_library(platform.machine(), GLIBC) / RUNNER


@functools.cache
def library() -> ctypes.CDLL:
    """libtvm_flow.so; calls release the interpreter's lock."""
    loaded = ctypes.CDLL(str(runtime_library(platform.machine(), GLIBC) / SHARED))
    pointer, i32, size = ctypes.c_void_p, ctypes.c_int32, ctypes.c_size_t
    signatures: dict[str, tuple[Any, Sequence[Any]]] = {
        "tvmf_checksum": (ctypes.c_uint64, [ctypes.c_char_p, size]),
        "tvmf_last_error": (ctypes.c_char_p, []),
        "tvmf_load": (i32, [ctypes.c_char_p, ctypes.c_uint32, pointer]),
        "tvmf_load_memory": (
            i32,
            [ctypes.c_char_p, size, pointer, size, ctypes.c_char_p, size, pointer],
        ),
        "tvmf_unload": (None, [pointer]),
        "tvmf_open": (i32, [pointer, pointer, pointer]),
        "tvmf_close": (i32, [pointer]),
        "tvmf_input_count": (i32, [pointer]),
        "tvmf_output_count": (i32, [pointer]),
        "tvmf_input_info": (i32, [pointer, i32, pointer]),
        "tvmf_output_info": (i32, [pointer, i32, pointer]),
        "tvmf_input": (pointer, [pointer, i32]),
        "tvmf_output": (pointer, [pointer, i32]),
        "tvmf_bind_input": (i32, [pointer, i32, pointer, size]),
        "tvmf_bind_output": (i32, [pointer, i32, pointer, size]),
        "tvmf_run": (i32, [pointer]),
        "tvmf_start": (i32, [pointer]),
        "tvmf_wait": (i32, [pointer]),
        "tvmf_threads": (i32, [pointer]),
        "tvmf_core": (i32, [pointer, i32]),
        "tvmf_time": (i32, [pointer, i32, i32, pointer]),
        "tvmf_step_count": (i32, [pointer]),
        "tvmf_step_name": (ctypes.c_char_p, [pointer, i32]),
        "tvmf_profile": (i32, [pointer, pointer]),
        "tvmf_set_picture": (i32, [pointer, i32, pointer, i32, i32, size, i32]),
        "tvmf_read_input": (i32, [pointer, i32, ctypes.c_char_p]),
        "tvmf_check": (i32, [pointer, ctypes.c_char_p, pointer]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Refused(Exception):
    """A function of the library failed; ``str`` is its sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def call(name: str, *arguments: Any) -> None:
    """Call the library's ``name``. Raises :class:`Refused`."""
    status = getattr(library(), name)(*arguments)
    if status:
        raise Refused(status, library().tvmf_last_error().decode(errors="replace"))


@dataclass
class Model:
    """A loaded bundle. Every method raises :class:`Refused`."""

    handle: ctypes.c_void_p = field(default_factory=ctypes.c_void_p)

    @staticmethod
    def load(folder: Path | None, flags: int = 0) -> Model:
        model = Model()
        name = None if folder is None else bytes(folder)
        call("tvmf_load", name, flags, ctypes.byref(model.handle))
        return model

    @staticmethod
    def from_memory(plan: bytes, weights: bytes, code: bytes) -> Model:
        """``weights`` must live as long as the model and its instances."""
        model = Model()
        call(
            "tvmf_load_memory", plan, len(plan), weights, len(weights), code, len(code),
            ctypes.byref(model.handle),
        )  # fmt: skip
        return model

    def open(
        self, threads: int = 0, flags: int = 0, shapes: int = 0, cores: Sequence[int] = ()
    ) -> Instance:
        given = (ctypes.c_int32 * len(cores))(*cores) if cores else None
        options = Options(ctypes.sizeof(Options), flags, shapes, threads, given, len(cores))
        instance = Instance()
        call("tvmf_open", self.handle, ctypes.byref(options), ctypes.byref(instance.handle))
        return instance

    def unload(self) -> None:
        library().tvmf_unload(self.handle)
        self.handle = ctypes.c_void_p()


@dataclass
class Instance:
    """An open instance. ``inputs`` and ``outputs`` are views of the memory that runs use now, and
    valid until it is closed."""

    handle: ctypes.c_void_p = field(default_factory=ctypes.c_void_p)

    @property
    def inputs(self) -> list[Array]:
        return [self._view("input", n) for n in range(library().tvmf_input_count(self.handle))]

    @property
    def outputs(self) -> list[Array]:
        return [self._view("output", n) for n in range(library().tvmf_output_count(self.handle))]

    def info(self, kind: str, number: int) -> TensorDescription:
        """Of ``"input"`` or ``"output"`` ``number``."""
        info = TensorDescription()
        call(f"tvmf_{kind}_info", self.handle, number, ctypes.byref(info))
        return info

    def _view(self, kind: str, number: int) -> Array:
        info = self.info(kind, number)
        address = getattr(library(), f"tvmf_{kind}")(self.handle, number)
        dtype = np.dtype(f"{_KINDS[info.type]}{info.bits // 8}")
        memory = (ctypes.c_uint8 * info.bytes).from_address(address)
        return np.frombuffer(memory, dtype).reshape(info.shape[: info.dimensions])

    def fill(self, *arrays: Array) -> None:
        """Copy one array into each input."""
        for view, array in zip(self.inputs, arrays, strict=True):
            view[...] = array

    def run(self) -> list[Array]:
        """Run; copies of the outputs."""
        call("tvmf_run", self.handle)
        return [output.copy() for output in self.outputs]

    def read(self, path: Path | str, number: int = 0) -> Array:
        """The input after :c:func:`tvmf_read_input`."""
        call("tvmf_read_input", self.handle, number, bytes(Path(path)))
        return self.inputs[number]

    def check(self, folder: Path) -> float:
        """The largest relative error."""
        error = ctypes.c_double(float("nan"))
        call("tvmf_check", self.handle, bytes(folder), ctypes.byref(error))
        return error.value

    def close(self) -> None:
        call("tvmf_close", self.handle)
        self.handle = ctypes.c_void_p()


@contextmanager
def open_toy(folder: Path, **options: Any) -> Iterator[Instance]:
    """An instance of the bundle in ``folder``, closed and unloaded at the end. ``options`` as of
    :meth:`Model.open`."""
    model = Model.load(folder)
    try:
        instance = model.open(**options)
        try:
            yield instance
        finally:
            instance.close()
    finally:
        model.unload()
