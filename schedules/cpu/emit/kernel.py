"""The frame every generated kernel stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from tvm_flow.schedules.contract.algorithm import Algorithm, InvalidKnobs
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.device import Cpu

#: TVM's operator pattern kind that no fusion touches
OPAQUE = 8


@contextmanager
def prim_func(
    algorithm: Algorithm[Cpu], problem: Problem, cpu: Cpu, name: str
) -> Iterator[dict[str, tirx.Buffer]]:
    """Open a TIR function named ``name`` and yield flat views of its buffers by name.

    The parameters keep their 4-D shapes, which the caller's tensors must have; the kernel
    addresses elements by their offset. Raises :class:`InvalidKnobs` for a problem of a type that
    the algorithm has no kernels for.
    """
    if problem.dtype not in algorithm.dtypes:
        raise InvalidKnobs(f"{algorithm.op} {algorithm.name} has no kernel for {problem.dtype}")
    with T.prim_func():
        T.func_name(name)
        params = {
            spec.name: T.arg(spec.name, T.buffer(spec.shape, spec.dtype))
            for spec in algorithm.arguments(problem, cpu)
        }
        T.func_attr(
            {
                "global_symbol": name,
                "tirx.noalias": True,
                "tirx.is_scheduled": True,
                "op_pattern": OPAQUE,
            }
        )
        yield {
            key: T.decl_buffer((int(np.prod(param.shape)),), param.dtype, data=param.data)
            for key, param in params.items()
        }
