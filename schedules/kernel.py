"""The frame every generated kernel stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from schedules.base import Cpu, Family, Workload


@contextmanager
def prim_func(
    family: Family, workload: Workload, cpu: Cpu, name: str
) -> Iterator[dict[str, tirx.Buffer]]:
    """Open a TIR function named ``name`` and yield its flat fp32 buffers by argument name."""
    with T.prim_func():
        T.func_name(name)
        args = {
            spec.name: T.arg(spec.name, T.buffer((int(np.prod(spec.shape)),), "float32"))
            for spec in family.arguments(workload, cpu)
        }
        T.func_attr({"global_symbol": name, "tirx.noalias": True, "tirx.is_scheduled": True})
        yield args
