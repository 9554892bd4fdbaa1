"""How TIR kernels are compiled: the pass settings every build of this project uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import pipeline as s_tir_pipeline
from tvm.tirx import compilation_pipeline

from tvm_flow.schedules.cpu.nans import keep_nans
from tvm_flow.schedules.cpu.plain_functions import plain_functions
from tvm_flow.support import ctrl_c as _ctrl_c  # noqa: F401 - for its effect

#: Storage rewrite merges the accumulator arrays of different microkernels into one allocation
#: with mixed vector widths, which LLVM then keeps in memory instead of registers. Kernels allocate
#: their scratch once, so nothing is lost.
#: TVM's search for common subexpressions takes time that grows with the square of a kernel's
#: length, and LLVM finds them again.
#: A kernel need not check its arguments: a bundle's runtime checks what it is given, and between
#: kernels shapes are known since compiling. What each saves: decision 0003.
PASS_CONFIG: Mapping[str, Any] = {
    "tirx.disable_storage_rewrite": True,
    "tirx.disable_cse_tir": True,
    "tirx.disable_assert": True,
}

#: Options for LLVM. Generators unroll what is to be unrolled; LLVM would spend its time on working
#: out that the other loops had better be left alone (decision 0003).
LLVM_OPTIONS = ("-unroll-threshold-aggressive:uint=0",)

#: Name of the pass pipeline for tensor programs, for TVM's ``tir_pipeline``.
PIPELINE = "tvm_flow"
#: The same for generated kernels only, which address flat buffers already.
KERNEL_PIPELINE = "tvm_flow.kernel"
#: The same as `PIPELINE`, to functions that are called with pointers (`plain_functions`).
PLAIN_PIPELINE = "tvm_flow.plain"


def pass_context() -> tvm.transform.PassContext:
    """The pass context for every compilation of generated kernels, to use with `PIPELINE`."""
    return tvm.transform.PassContext(opt_level=3, config=dict(PASS_CONFIG))


def target_of(plain: Mapping[str, Any]) -> tvm.target.Target:
    """TVM's target for the plain dict of ``Board.tvm_target()``: what all code of this project is
    compiled for."""
    return tvm.target.Target({**plain, "cl-opt": list(LLVM_OPTIONS)})


def compile_module(module: tvm.IRModule, target: tvm.target.Target) -> tvm.runtime.Executable:
    """Compile generated kernels: to the same code as in a network."""
    with pass_context():
        return tvm.compile(module, target=target, tir_pipeline=KERNEL_PIPELINE)


def compile_kernel(func: tirx.PrimFunc, target: Mapping[str, Any]) -> tvm.runtime.Executable:
    """Compile one kernel for a target given as the plain dict of ``Board.tvm_target()``."""
    name = str(func.attrs["global_symbol"])
    return compile_module(tvm.IRModule({name: func}), target_of(target))


def _pipeline(
    *, generated: bool = False, plain: bool = False
) -> tuple[tvm.transform.Pass, Any, Any]:
    """TVM's standard pipeline without what finds nothing to do in kernels for CPUs in fp32: the
    passes for GPUs, small floats and asynchronous copies, and three slow ones, whose work is done
    when a kernel is generated (buffers as small as they can be, where they are used) or by LLVM
    (removing empty loops). ``generated``: buffers have one dimension and indices 32 bits already,
    so the passes that make them so are left out as well (decision 0003). ``plain``: to functions
    that are called with pointers.
    """
    s, t = s_tir.transform, tirx.transform
    passes = [
        s.CanonicalizeLoop(),
        s.LowerInitBlock(),
        s.ConvertBlocksToOpaque(),
        s.StmtSimplify(),
        s.LowerOpaqueBlock(),
        *([] if generated else [t.FlattenBuffer(), t.NarrowDataType(32)]),
        s.LoopPartition(),
        t.VectorizeLoop(True),
        t.UnrollLoop(),
        s.RenormalizeSplitPattern(),
        t.StmtSimplify(),
        s.RewriteUnsafeSelect(),
        keep_nans,
        t.VerifyMemory(),
        t.AnnotateEntryFunc(),
        t.SplitHostDevice(),
        plain_functions if plain else t.MakePackedAPI(),
    ]
    _, host, device = s_tir_pipeline.default_s_tir_pipeline()
    return tvm.transform.Sequential(passes), host, device


compilation_pipeline.register_tir_pipeline(PIPELINE, _pipeline)
compilation_pipeline.register_tir_pipeline(KERNEL_PIPELINE, partial(_pipeline, generated=True))
compilation_pipeline.register_tir_pipeline(PLAIN_PIPELINE, partial(_pipeline, plain=True))
