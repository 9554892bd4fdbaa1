"""libtvm_flow through ctypes, call by call as ``tvm_flow.h`` has them; and the program on top."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tvm_flow.toolchain.runtime_library import RUNNER, SHARED, runtime_library

Array = NDArray[Any]

OK, USAGE, BUSY, BUNDLE, NUMERICS, ENVIRONMENT = 0, 2, 3, 7, 8, 10
PIN, UNCHECKED = 1, 2
GLIBC = "2.28"
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}


def checksum(data: bytes) -> int:
    """XXH64 as the library computes it."""
    return int(library().tvmf_checksum(data, len(data)))


def threads_beyond(count: int) -> int:
    """How many threads this process has beyond ``count``. One that was joined is still shown for
    some moments, in which the system ends it: these are waited for, up to 5 seconds."""
    end = time.monotonic() + 5
    while (beyond := len(os.listdir("/proc/self/task")) - count) > 0 and time.monotonic() < end:
        time.sleep(0.01)
    return max(beyond, 0)


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


def runner(arch: str = platform.machine()) -> Path:
    """The program ``runner``."""
    return runtime_library(arch, GLIBC) / RUNNER


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
def open_bundle(folder: Path, **options: Any) -> Iterator[Instance]:
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
