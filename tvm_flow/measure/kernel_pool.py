"""The thread pool of a single kernel that TVM has loaded, on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tvm

from tvm_flow.support.errors import EnvironmentFault, UsageError

_POOL = "tvm_flow_pool"  # set-up function of the pool linked into the library
_ONE_CORE_PER_THREAD = -2  # kSpecifyOneCorePerThread, tvm/src/runtime/threading_backend.h


def use_threads(library: Any, threads: int, cores: Sequence[int]) -> None:
    """Let ``library`` use ``threads`` threads, one on each of the first ``cores``.

    They are of its own pool (``toolchain/kernel_pool.c``), or where it has none of TVM's, which
    belongs to the calling thread. The first thread is the caller itself, whose affinity stays as it
    was. Raises :class:`UsageError` for more threads than cores.
    """
    if not 1 <= threads <= len(cores):
        raise UsageError(
            f"--threads {threads} is not possible",
            why=f"this process may use {len(cores)} core(s)",
            fix=f"use 1 to {len(cores)}, or start it with a wider CPU affinity",
        )
    if library.implements_function(_POOL, query_imports=True):
        pool = library.get_function(_POOL, query_imports=True)
        if pool(threads, *cores[:threads]) != threads:
            raise EnvironmentFault(
                f"the system gives no {threads} threads", fix="look at ulimit -u, or use fewer"
            )
        return
    before = os.sched_getaffinity(0)
    configure = tvm.get_global_func("runtime.config_threadpool")
    configure(_ONE_CORE_PER_THREAD, threads, [str(core) for core in cores])
    os.sched_setaffinity(0, before)  # TVM binds the caller to all of ``cores``
