"""A lowered network as TVM's own users run it: an executable of the Relax virtual machine, with its
weights inside and on TVM's thread pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tvm
from tvm import relax
from tvm.relax import transform

from tvm_flow.codegen.library import calls_with_outputs, cannot_compile, last_line
from tvm_flow.ir.lowered import Lowered
from tvm_flow.schedules.cpu.lowering import PIPELINE, pass_context, target_of
from tvm_flow.support.errors import CompileError
from tvm_flow.targets import Board
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.space import require_space


def compile_executable(lowered: Lowered) -> Any:
    """What ``relax.VirtualMachine`` takes; its ``main`` takes the inputs and returns a tensor, or a
    tuple of several. Raises :class:`CompileError`."""
    target = target_of(lowered.board.tvm_target())
    try:
        with target, pass_context():
            planned = tvm.transform.Sequential(
                [calls_with_outputs(), transform.StaticPlanBlockMemory()]
            )(lowered.mod)
            return relax.build(
                planned, target=target, relax_pipeline=_finish(), tir_pipeline=PIPELINE
            )
    except Exception as error:  # TVM raises many types; none of them is the user's to catch
        raise cannot_compile(lowered, error) from error


def export_executable(executable: Any, path: Path, board: Board) -> None:
    """Link the shared library ``path``, for ``tvm.runtime.load_module``.

    Raises :class:`CompileError`, also on a full disk.
    """
    require_space(path.parent, 0)
    try:
        executable.export_library(str(path), fcompile=find_linker(board.arch).fcompile)
    except (CompileError, OSError):
        raise
    except Exception as error:
        raise CompileError(f"cannot link {path}", why=last_line(error)) from error


def _finish() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            transform.LowerAllocTensor(),
            transform.KillAfterLastUse(),
            transform.LowerRuntimeBuiltin(),
            transform.ComputePrimValue(),
            transform.VMShapeLower(),
            transform.AttachGlobalSymbol(),
        ]
    )
