"""A legalised TIR function -> the same function in vectors."""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.elementwise import Machine, emit_stage
from tvm_flow.codegen.rest.program import Program
from tvm_flow.codegen.rest.reductions import emit_rows
from tvm_flow.codegen.rest.rows import keep_costly, rows_of
from tvm_flow.codegen.rest.stages import stages_of


def vectorised(func: tirx.PrimFunc, machine: Machine) -> tirx.PrimFunc:
    """A function that computes what ``func`` does. Raises :class:`NotUnderstood`."""
    program = Program(stages_of(func), list(func.params))
    reduces = any(stage.combine for stage in program.stages)
    shared = keep_costly(program) if reduces else {}
    rows = rows_of(program) if reduces else None
    with IRBuilder() as builder, T.prim_func():
        T.func_name("main")
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True})
        given = [
            T.arg(param.name, T.buffer([int(extent) for extent in param.shape], param.dtype))
            for param in func.params
        ]
        buffers: dict[Any, tirx.Buffer] = {
            param: _flat(param, made) for param, made in zip(func.params, given, strict=True)
        }
        buffers |= {inner: buffers[output] for inner, output in shared.items()}
        if rows is not None:
            emit_rows(program, rows, buffers, machine, in_place=bool(shared))
        else:
            for stage in program.stages:
                if stage.buffer in program.stored:
                    emit_stage(program, stage, buffers, machine)
    return builder.get().without_attr("global_symbol")


def _flat(param: Any, made: tirx.Buffer) -> tirx.Buffer:
    size = math.prod(int(extent) for extent in param.shape)
    return T.decl_buffer((size,), param.dtype, data=made.data)
