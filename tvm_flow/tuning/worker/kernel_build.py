"""In the build worker: one choice of knobs to one shared library."""

from __future__ import annotations

import importlib

import tvm

from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import InvalidKnobs
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.support.errors import CompileError
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.thread_pool import thread_pool_objects
from tvm_flow.tuning.records.record import OK
from tvm_flow.tuning.worker.protocol import SYMBOL, BuildAnswer, BuildRequest, Handlers, one_line


def handlers() -> Handlers:
    """What a build worker does."""
    return {BuildRequest: build}


def build(request: BuildRequest) -> BuildAnswer:
    """Build one kernel; the answer's ``status`` is ``ok``, ``invalid`` or ``build_error``."""
    asked = request.kernel
    importlib.import_module(asked.algorithm_module)  # registers the algorithm
    workload = Workload.parse(asked.workload)
    try:
        algorithm = registry.algorithm(workload, asked.device.kind)
        kernel = algorithm.build(workload.problem, asked.device, request.knobs, SYMBOL)
    except InvalidKnobs as error:
        return BuildAnswer("invalid", one_line(error))
    except Exception as error:  # a fault of the generator is a fault of this candidate only
        return BuildAnswer("build_error", f"generator: {one_line(error)}")
    try:
        # as in a bundle: with other pass settings the tuner would rank other code
        built = compile_kernel(kernel.with_attr("global_symbol", SYMBOL), asked.target)
        linker = find_linker(asked.arch).fcompile
        pool = thread_pool_objects(asked.arch, asked.glibc, asked.device.threads)
        built.export_library(str(request.library), fcompile=linker, addons=pool)
    except CompileError as error:
        return BuildAnswer("build_error", one_line(error))
    except Exception as error:  # TVM raises many types
        return BuildAnswer("build_error", f"compiler: {one_line(error)}")
    return BuildAnswer(OK, "", _shapes(kernel))


def _shapes(kernel: tvm.tirx.PrimFunc) -> tuple[tuple[int, ...], ...]:
    """Shapes the kernel declares: it may see an argument as a line of numbers."""
    return tuple(tuple(int(extent) for extent in parameter.ty.shape) for parameter in kernel.params)
