"""Load ``model.so`` into TVM's runtime, configure threads, get its ``main``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tvm_flow.runtime import c_api, ffi, machine
from tvm_flow.support.errors import BundleError, EnvironmentFault, UsageError

_CPU, _POOLED_ALLOCATOR = 1, 2  # kDLCPU; tvm/runtime/memory/memory_manager.h
_BOUND = "tvm_flow_network"
_POOL = "tvm_flow_pool"  # set-up function of the pool linked into the library
_ONE_CORE_PER_THREAD = -2  # kSpecifyOneCorePerThread, tvm/src/runtime/threading_backend.h


class Program(NamedTuple):
    """A loaded network: the library, its Relax virtual machine, and that one's entry function."""

    library: ffi.Module
    vm: ffi.Module
    main: ffi.Function


def open_program(path: PathLike[str] | str, weights: Sequence[NDArray[Any]]) -> Program:
    """Load the library, start its virtual machine and hand it its weights. Raises
    :class:`BundleError`.

    Of TVM only ``libtvm_runtime`` is loaded, not the compiler: that saves seconds of start-up and
    over 100 MiB, which matters on a board.
    """
    load_runtime()
    try:
        library = ffi.load_module(path)
        vm = start_machine(library)
        # ``main`` with its last parameters bound; True: its result is returned
        vm["save_function"]("main", _BOUND, True, *weights)
        return Program(library, vm, vm[_BOUND])
    except (ffi.TvmError, AttributeError) as error:
        reason = str(error).strip().splitlines()
        raise BundleError(
            f"cannot load {path}",
            why=reason[-1] if reason else type(error).__name__,
            fix="compile the bundle again",
        ) from error


def start_machine(library: Any) -> Any:
    """The Relax virtual machine of a loaded network, ready on the CPU. ``library`` and what is
    returned are modules whose functions are found by name: here, or on a board."""
    vm = library["vm_load_executable"]()
    vm["vm_initialization"](_CPU, 0, _POOLED_ALLOCATOR)
    return vm


def load_runtime() -> None:
    """Load TVM's runtime library into this process. Raises :class:`EnvironmentFault`."""
    c_api.load()  # first: the runtime is linked to it, and would look for it where it is not
    c_api.load_library("tvm", "libtvm_runtime.so")


def use_threads(library: Any, threads: int, cores: list[int], *, pin: bool) -> None:
    """Let ``library`` use ``threads`` threads, one on each of the first ``cores``.

    They are of its own pool (``thread_pool.c``), or where it has none of TVM's, which belongs to
    the calling thread. The first thread is the caller itself: with ``pin`` it is bound to the first
    core, else its affinity stays as it was. Raises :class:`UsageError` for more threads than cores.
    """
    if not 1 <= threads <= len(cores):
        raise UsageError(
            f"--threads {threads} is not possible",
            why=f"this process may use {len(cores)} core(s)",
            fix=f"use 1 to {len(cores)}, or start it with a wider CPU affinity",
        )
    before = os.sched_getaffinity(0)
    # The network's code is a module that the executable imports.
    if library.implements_function(_POOL, query_imports=True):
        pool = library.get_function(_POOL, query_imports=True)
        if pool(threads, *cores[:threads]) != threads:
            raise EnvironmentFault(
                f"the system gives no {threads} threads", fix="look at ulimit -u, or use fewer"
            )
    else:
        _use_tvm_pool(threads, cores)
    # TVM binds the caller to all of ``cores``
    os.sched_setaffinity(0, {cores[0]} if pin else before)


def _use_tvm_pool(threads: int, cores: list[int]) -> None:
    # The pool never grows after its first use, so it is made for all cores and then limited.
    configure = ffi.global_function("runtime.config_threadpool")
    configure(_ONE_CORE_PER_THREAD, threads, [str(core) for core in cores])


def default_cores(target: dict[str, Any]) -> list[int]:
    """The cores the bundle was compiled for where this process may use them, else the fastest."""
    allowed = machine.usable_cores()
    wanted = [int(core) for core in target["cores"]]
    return wanted if set(wanted) <= set(allowed) else allowed


def aligned_empty(shape: tuple[int, ...], dtype: str, alignment: int) -> np.ndarray:
    """An uninitialised C-contiguous array whose first byte is at a multiple of ``alignment``.

    Generated code uses aligned vector loads, NumPy alone guarantees 16 bytes.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + alignment, np.uint8)
    offset = -raw.ctypes.data % alignment
    return raw[offset : offset + size].view(dtype).reshape(shape)
