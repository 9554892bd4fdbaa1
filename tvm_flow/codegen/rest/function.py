"""A legalised TIR function -> the same function in vectors."""

from __future__ import annotations

import math
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from tvm_flow.codegen.rest.elementwise import Machine, emit_stage
from tvm_flow.codegen.rest.program import Program
from tvm_flow.codegen.rest.stages import NotUnderstood, stages_of


def vectorised(func: tirx.PrimFunc, machine: Machine) -> tirx.PrimFunc:
    """A function that computes what ``func`` does. Raises :class:`NotUnderstood`."""
    program = Program(stages_of(func), list(func.params))
    if any(stage.combine for stage in program.stages):
        raise NotUnderstood("a reduction")
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
        for stage in program.stages:
            if stage.buffer in program.stored:
                emit_stage(program, stage, buffers, machine)
    return builder.get().without_attr("global_symbol")


def _flat(param: Any, made: tirx.Buffer) -> tirx.Buffer:
    size = math.prod(int(extent) for extent in param.shape)
    return T.decl_buffer((size,), param.dtype, data=made.data)
