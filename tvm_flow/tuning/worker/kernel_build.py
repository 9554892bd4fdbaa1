"""In the build worker: one choice of knobs to one shared library."""

from __future__ import annotations

import importlib

import tvm

from tvm_flow.schedules.contract.base import Cpu, InvalidKnobs, Workload
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.schedules.registry import lookup
from tvm_flow.support.channel import Message
from tvm_flow.support.errors import CompileError
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.thread_pool import pool_objects

#: Name of the only function in a candidate's library.
SYMBOL = "candidate"


def handle(request: Message) -> Message:
    """Build ``workload`` with ``knobs`` into the file ``library``.

    The answer's ``status`` is ``ok`` (with the ``shapes`` of the kernel's arguments), ``invalid``
    (no kernel exists for these knobs) or ``build_error`` with its ``cause``.
    """
    importlib.import_module(request["family_module"])  # registers the family
    workload, cpu = Workload.parse(request["workload"]), Cpu(**request["cpu"])
    try:
        family = lookup(workload.op, request["target"]["kind"])
        kernel = family.build(workload, cpu, request["knobs"], SYMBOL)
    except InvalidKnobs as error:
        return {"status": "invalid", "cause": one_line(error)}
    except Exception as error:  # a fault of the generator is a fault of this candidate only
        return {"status": "build_error", "cause": f"generator: {one_line(error)}"}
    try:
        # as in a bundle: with other pass settings the tuner would rank other code
        built = compile_kernel(kernel.with_attr("global_symbol", SYMBOL), request["target"])
        linker = find_linker(request["arch"]).fcompile
        pool = pool_objects(request["arch"], request["glibc"], cpu.threads)
        built.export_library(request["library"], fcompile=linker, addons=pool)
    except CompileError as error:
        return {"status": "build_error", "cause": one_line(error)}
    except Exception as error:  # TVM raises many types
        return {"status": "build_error", "cause": f"compiler: {one_line(error)}"}
    return {"status": "ok", "shapes": _shapes(kernel)}


def _shapes(kernel: tvm.tirx.PrimFunc) -> list[list[int]]:
    """Shapes the kernel declares: it may see an argument as a line of numbers."""
    return [[int(extent) for extent in parameter.ty.shape] for parameter in kernel.params]


def one_line(error: BaseException) -> str:
    """The last line of an error's text with its type, short enough for a record."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"[:300]
