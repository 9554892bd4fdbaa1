"""Kernels as plain C functions of pointers: ``int kernel(float* x, float* weight, float* y)``.

TVM wraps a kernel into its packed calling convention, which reads and checks every argument in
every call. Shapes are known when a network is compiled, and a plan is checked once, when loaded.
"""

from __future__ import annotations

import tvm
from tvm import ir, tirx
from tvm.tirx import stmt

_CPU = 1  # kDLCPU


@tirx.transform.prim_func_pass(opt_level=0)
def plain_functions(
    func: tirx.PrimFunc, _mod: tvm.IRModule, _context: tvm.transform.PassContext
) -> tirx.PrimFunc:
    """Takes the place of ``MakePackedAPI`` in a pipeline. The result returns 0, or what a parallel
    loop or an allocation failed with."""
    pointers = [
        tirx.Var(f"{param.name}_data", ir.PointerType(ir.PrimType(str(param.ty.dtype))))
        for param in func.params
    ]
    bound = [
        tirx.DeclBuffer(param, data=pointer)
        for param, pointer in zip(func.params, pointers, strict=True)
    ]
    # A function of its own, as in TVM's convention: its arguments are known not to overlap.
    name = f"{func.attrs['global_symbol']}_compute_"
    compute = tirx.AttrStmt("default", "compute_scope", ir.StringImm(name), func.body)
    body: tirx.Stmt = tirx.SeqStmt([*bound, compute, stmt.Return(tirx.const(0, "int32"))])
    for key, value in (("device_id", 0), ("device_type", _CPU)):
        body = tirx.AttrStmt("default", key, tirx.IntImm("int32", value), body)
    for param in func.params:
        alignment = tirx.IntImm("int32", param.ty.data_alignment)
        body = tirx.AttrStmt(param, "storage_alignment", alignment, body)
    return tirx.PrimFunc(pointers, body, ret_type=ir.PrimType("int32"), attrs=func.attrs)
