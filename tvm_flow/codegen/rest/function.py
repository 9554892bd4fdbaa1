"""A legalised TIR function -> the same function in vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.elementwise import Machine, emit_stage
from tvm_flow.codegen.rest.program import Program
from tvm_flow.codegen.rest.reductions import emit_rows
from tvm_flow.codegen.rest.rows import keep_costly, rows_of
from tvm_flow.codegen.rest.stages import NotUnderstood, stages_of


def vectorised(func: tirx.PrimFunc, machine: Machine) -> tirx.PrimFunc:
    """A function that computes what ``func`` does. Raises :class:`NotUnderstood`."""
    stages, parameters = stages_of(func), list(func.params)
    program = Program(stages, parameters)
    if not any(stage.combine for stage in stages):
        return _function(func, lambda buffers: _one_by_one(program, buffers, machine))
    try:
        shared = keep_costly(program)
        rows = rows_of(program, program.in_memory)
    except NotUnderstood:
        apart = Program(stages, parameters)
        return _function(func, lambda buffers: _one_by_one(apart, buffers, machine))

    def together(buffers: dict[Any, tirx.Buffer]) -> None:
        for inner, output in shared.items():
            buffers[inner] = buffers[output]
        emit_rows(program, rows, buffers, machine, in_place=bool(shared))

    return _function(func, together)


def _function(func: tirx.PrimFunc, emit: Callable[[dict[Any, tirx.Buffer]], None]) -> tirx.PrimFunc:
    """A function with the arguments of ``func`` and another body, which is given flat buffers."""
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        given = [
            T.arg(param.name, T.buffer([int(extent) for extent in param.shape], param.dtype))
            for param in func.params
        ]
        emit({param: _flat(param, made) for param, made in zip(func.params, given, strict=True)})
    return builder.get().without_attr("global_symbol")


def _one_by_one(program: Program, buffers: dict[Any, tirx.Buffer], machine: Machine) -> None:
    """Every stage for all of its elements, before the next."""
    for stage in program.in_memory:
        if stage.buffer not in buffers:
            size = math.prod(program.sizes[stage.buffer])
            buffers[stage.buffer] = T.alloc_buffer((size,), stage.buffer.dtype)
        if stage.combine:
            rows = rows_of(program, [stage])
            emit_rows(program, rows, buffers, machine, in_place=False)
        else:
            emit_stage(program, stage, buffers, machine)


def _flat(param: Any, made: tirx.Buffer) -> tirx.Buffer:
    size = math.prod(int(extent) for extent in param.shape)
    return T.decl_buffer((size,), param.dtype, data=made.data)
