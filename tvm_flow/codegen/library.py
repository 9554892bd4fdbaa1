"""A lowered network -> machine code of its kernels, and the plan of calling them.

The steps are those of TVM's own CPU pipeline minus operator fusion, which is done by then: fusing
again would merge generated kernels and lose the names that records and profiles go by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import tirx
from tvm.relax import transform
from tvm.target import Target

from tvm_flow.codegen.constants import Array, lift_constants
from tvm_flow.codegen.legalise import legalise
from tvm_flow.codegen.module_source import module_source, symbol_of
from tvm_flow.codegen.plan import make_plan
from tvm_flow.ir.lowered import Lowered
from tvm_flow.ir.plan import Plan
from tvm_flow.schedules.cpu.lowering import PLAIN_PIPELINE, pass_context, target_of
from tvm_flow.support.errors import CompileError


@dataclass(frozen=True)
class CompiledLibrary:
    """Machine code (``None`` where there is nothing to compute), the plan that calls it, and the
    values of the weights in the plan's order. ``functions``: the kernels' programs by symbol."""

    module: Any | None
    functions: Mapping[str, tirx.PrimFunc]
    plan: Plan
    weights: tuple[Array, ...]
    target: Target


def compile_library(lowered: Lowered) -> CompiledLibrary:
    """Compile ``lowered`` for its board. Raises :class:`CompileError`."""
    target = target_of(lowered.board.tvm_target())
    try:
        with target, pass_context():
            lifted, weights = lift_constants(lowered.mod)
            calls = calls_with_outputs()(lifted)
            plan, values = make_plan(calls, len(lowered.inputs), weights)
            kernels = {
                var: func.with_attr("global_symbol", symbol_of(var.name_hint))
                for var, func in calls.functions.items()
                if isinstance(func, tirx.PrimFunc)
            }
            module = None
            if kernels:
                module = tirx.build(tvm.IRModule(kernels), target=target, pipeline=PLAIN_PIPELINE)
    except CompileError:
        raise
    except Exception as error:  # TVM raises many types; none of them is the user's to catch
        raise cannot_compile(lowered, error) from error
    functions = {var.name_hint: calls[var] for var in kernels}
    return CompiledLibrary(module, functions, plan, tuple(values), target)


def write_objects(built: CompiledLibrary, folder: Path) -> list[Path]:
    """What is to be linked into the library: an object file, and the C source of the table of
    kernels. There must be space for them: LLVM aborts the whole process where it cannot write."""
    kernels, table = folder / "kernels.o", folder / "module.c"
    table.write_text(module_source(built.plan.kernels), encoding="ascii")
    if built.module is None:
        return [table]
    built.module.write_to_file(str(kernels), "o")
    return [kernels, table]


def calls_with_outputs() -> tvm.transform.Pass:
    """``main`` as calls of kernels that are handed their outputs."""
    return tvm.transform.Sequential(
        [
            # a reshape stays one: the same memory under another shape. (The pass that finds
            # reshapes among TIR functions cannot read generated kernels.)
            legalise(),
            transform.ToNonDataflow(),
            transform.RemovePurityChecking(),
            transform.CallTIRRewrite(),
        ]
    )


def cannot_compile(lowered: Lowered, error: Exception) -> CompileError:
    """What an error of TVM's means to the user."""
    return CompileError(
        f"cannot compile {lowered.model_name} for {lowered.board.name}",
        why=last_line(error),
        fix="run again with --debug and report it",
    )


def last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
