"""Lower a module to machine code, and note the kernel calls and the memory plan on the way.

The steps are those of TVM's own CPU pipeline minus operator fusion, which is done by then: fusing
again would merge generated kernels and lose the names that records and profiles go by.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax import transform
from tvm.target import Target

from tvm_flow.codegen.constants import Array, lift_constants
from tvm_flow.ir.lowered import Lowered
from tvm_flow.schedules.cpu.lowering import PIPELINE, pass_context, target_of
from tvm_flow.support.errors import CompileError
from tvm_flow.targets import Board
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.toolchain.thread_pool import thread_pool_objects

_CODE_BYTES = 16 * 2**20  # far above the object files and libraries without weights seen so far


@dataclass(frozen=True)
class KernelCall:
    """One call in ``main``: ``symbol`` and the bytes of all its arguments."""

    symbol: str
    argument_bytes: int


@dataclass(frozen=True)
class MemoryPlan:
    """What TVM's planner decided, in bytes.

    ``storages``: the shared buffers intermediate tensors live in; ``unshared``: the sum of all
    intermediate tensors, which is what an allocation per tensor would take; ``weights``: in the
    file beside the library.
    """

    storages: tuple[int, ...]
    unshared: int
    weights: int

    @property
    def arena(self) -> int:
        return sum(self.storages)


@dataclass(frozen=True)
class CompiledModule:
    """An executable with what was noted while lowering it; ``weights`` are the values of the last
    parameters of its ``main``."""

    executable: Any
    weights: tuple[Array, ...]
    target: Target
    calls: tuple[KernelCall, ...]
    memory: MemoryPlan


def build_executable(lowered: Lowered) -> CompiledModule:
    """Compile ``lowered`` for its board. Raises :class:`CompileError`.

    The virtual machine runs bytecode: TVM's other mode (``exec_mode="compiled"``) saves 1.5 of
    30 microseconds on 42 kernels, but gives up the instrument that ``profile`` needs.
    """
    target = target_of(lowered.board.tvm_target())
    try:
        with target, pass_context():
            lifted, weights = lift_constants(lowered.mod)
            planned = _plan_passes()(lifted)
            calls, memory = tuple(_calls(planned["main"])), _memory(planned["main"], weights)
            executable = relax.build(
                planned, target=target, relax_pipeline=_finish_passes(), tir_pipeline=PIPELINE
            )
    except Exception as error:  # TVM raises many types; none of them is the user's to catch
        raise CompileError(
            f"cannot compile {lowered.model_name} for {lowered.board.name}",
            why=_last_line(error),
            fix="run again with --debug and report it",
        ) from error
    return CompiledModule(executable, weights, target, calls, memory)


def export(built: CompiledModule, path: Path, board: Board) -> None:
    """Link the shared library ``path`` for ``board``, with its thread pool.

    Raises :class:`CompileError`, also on a full disk.
    """
    # LLVM aborts the whole process where it cannot write an object file, so look before.
    for folder in (Path(tempfile.gettempdir()), path.parent):
        _require_space(folder, built.memory.weights + _CODE_BYTES)
    try:
        built.executable.export_library(
            str(path),
            fcompile=find_linker(board.arch).fcompile,
            addons=thread_pool_objects(board.arch, board.glibc_floor, board.threads),
        )
    except (CompileError, OSError):
        raise
    except Exception as error:
        raise CompileError(f"cannot link {path}", why=_last_line(error)) from error


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CompileError(
            f"not enough space in {folder}",
            why=f"{free / 2**20:.0f} MiB are free, compiling needs {needed / 2**20:.0f} MiB",
            fix="free some space, or set TMPDIR and --output to another disk",
        )


def _plan_passes() -> tvm.transform.Pass:
    return tvm.transform.Sequential(
        [
            # a reshape stays one: the virtual machine makes it a view. (The pass that finds
            # reshapes among TIR functions cannot read generated kernels.)
            transform.LegalizeOps(skip_ops=["relax.reshape"]),
            transform.ToNonDataflow(),
            transform.RemovePurityChecking(),
            transform.CallTIRRewrite(),
            transform.StaticPlanBlockMemory(),
        ]
    )


def _finish_passes() -> tvm.transform.Pass:
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


def _bound_calls(main: relax.Function) -> Iterator[tvm.ir.Call]:
    for block in main.body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, tvm.ir.Call):
                yield binding.value


def _calls(main: relax.Function) -> Iterator[KernelCall]:
    for call in _bound_calls(main):
        if isinstance(call.op, tvm.ir.GlobalVar):
            total = sum(_tensor_bytes(argument) for argument in call.args)
            yield KernelCall(call.op.name_hint, total)


def _memory(main: relax.Function, weights: Sequence[Array]) -> MemoryPlan:
    storages, unshared = [], 0
    for call in _bound_calls(main):
        name = getattr(call.op, "name", "")
        if name == "relax.memory.alloc_storage":
            storages.append(int(call.args[0].values[0]))
        elif name == "relax.memory.alloc_tensor":
            unshared += _shape_bytes(call.args[2].values, str(call.args[3].value))
    return MemoryPlan(tuple(storages), unshared, sum(array.nbytes for array in weights))


def _tensor_bytes(value: Any) -> int:
    return _shape_bytes(value.ty.shape.values, str(value.ty.dtype))


def _shape_bytes(shape: Any, dtype: str) -> int:
    return int(np.prod([int(extent) for extent in shape])) * np.dtype(dtype).itemsize


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
