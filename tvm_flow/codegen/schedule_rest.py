"""A plain schedule for the operators no algorithm computes: parallel outside, vectors inside.

TVM's CPU pipeline leaves such functions scalar and serial. They are fused element-wise chains,
transposes and small reductions; a good default is enough.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.s_tir import Schedule

from tvm_flow.codegen.legalise import legalise
from tvm_flow.codegen.rest.elementwise import PARALLEL_FROM, Machine
from tvm_flow.codegen.rest.function import vectorised
from tvm_flow.codegen.rest.stages import NotUnderstood


def fuse_rest() -> tvm.transform.Pass:
    """Legalise Relax operators to TIR and fuse them with each other, never with kernels."""
    return tvm.transform.Sequential(
        [
            legalise(),
            relax.transform.FoldConstant(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
        ]
    )


def schedule_rest(mod: tvm.IRModule, lanes: int, threads: int) -> tvm.IRModule:
    """Schedule every TIR function that is not marked ``tirx.is_scheduled``."""
    updated = tvm.IRModule(dict(mod.functions), attrs=mod.attrs)
    for var, func in mod.functions.items():
        if isinstance(func, tvm.tirx.PrimFunc) and "tirx.is_scheduled" not in func.attrs:
            updated.update_func(var, _scheduled(func, lanes, threads))
    return updated


def _scheduled(func: tvm.tirx.PrimFunc, lanes: int, threads: int) -> tvm.tirx.PrimFunc:
    try:
        return vectorised(func, Machine(lanes, threads))
    except NotUnderstood:
        return _plainly_scheduled(func, lanes, threads)


def _plainly_scheduled(func: tvm.tirx.PrimFunc, lanes: int, threads: int) -> tvm.tirx.PrimFunc:
    func = _at_their_start(func)
    if func.body.block.name_hint != "root":  # one block of many statements: a scattering
        return func.with_attr("tirx.is_scheduled", True)
    schedule = Schedule(tvm.IRModule({"main": func}))
    root = schedule.get_sblock("root", func_name="main")
    for block in schedule.get_child_blocks(root):
        _schedule_block(schedule, block, lanes, threads)
    return schedule.mod["main"].with_attr("tirx.is_scheduled", True)


def _at_their_start(func: tvm.tirx.PrimFunc) -> tvm.tirx.PrimFunc:
    """With parameters that begin where their memory does: TVM's scatterings leave that open."""
    return func.specialize(
        {
            param: tvm.tirx.decl_buffer(param.shape, param.dtype, param.name)
            for param in func.params
            if isinstance(param.elem_offset, tvm.tirx.Var)
        }
    )


def _schedule_block(schedule: Schedule, block, lanes: int, threads: int) -> None:  # type: ignore[no-untyped-def]
    """Vectorise the last spatial loop, run the rest in parallel; reductions stay inside."""
    loops = schedule.get_loops(block)
    kinds = [int(v.iter_type) for v in schedule.get(block).iter_vars]
    if not loops or len(kinds) != len(loops):
        return
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == 0]
    if not spatial or len(spatial) != len(loops):
        return  # a reduction: left to LLVM
    extents = [int(schedule.get(loop).extent) for loop in spatial]
    total = 1
    for extent in extents:
        total *= extent
    outer, inner = spatial[:-1], spatial[-1]
    if extents[-1] % lanes == 0 and extents[-1] > lanes:
        split = schedule.split(inner, [None, lanes])
        outer, inner = [*outer, split[0]], split[1]
    if extents[-1] % lanes == 0:
        schedule.vectorize(inner)
    if outer and threads > 1 and total >= PARALLEL_FROM:
        schedule.parallel(schedule.fuse(*outer))
