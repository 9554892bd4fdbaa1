"""Weights live beside the library: constants of ``main`` become its last parameters.

TVM would put them into the library's data section, and copy them twice while it loads: a network
of 17 MB of weights then peaks at 66 MiB above its resident size. A file costs its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

#: Every tensor of the file starts at a multiple of this many bytes, what the widest vectors need.
ALIGNMENT = 64
Array = NDArray[Any]


def lift_constants(mod: tvm.IRModule) -> tuple[tvm.IRModule, tuple[Array, ...]]:
    """``mod`` with the constants of ``main`` as parameters after its own, and their values.

    Scalars stay: operators take them into their code. A constant used twice is one parameter.
    """
    lifter = _Lifter(mod)
    main = lifter.visit_expr(mod["main"])
    parameters = [*main.params, *lifter.parameters.values()]
    lifted = mod.clone()
    lifted.update_func(
        lifted.get_global_var("main"),
        relax.Function(parameters, main.body, main.ret_ty, main.is_pure, main.attrs),
    )
    return lifted, tuple(constant.value.numpy() for constant in lifter.parameters)


def offsets_of(arrays: Sequence[Array]) -> tuple[list[int], int]:
    """Where each array starts in the file of weights, and the size of that file, in bytes."""
    offsets, end = [], 0
    for array in arrays:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        offsets.append(start)
        end = start + array.nbytes
    return offsets, end


def write_weights(path: Path, arrays: Sequence[Array]) -> None:
    """Write ``arrays`` one after the other, each at its place of :func:`offsets_of`."""
    with path.open("wb") as file:
        for array, offset in zip(arrays, offsets_of(arrays)[0], strict=True):
            file.write(bytes(offset - file.tell()))
            file.write(np.ascontiguousarray(array).tobytes())


@mutator
class _Lifter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule) -> None:
        super().__init__(mod)
        self.parameters: dict[Any, relax.Var] = {}

    def visit_generic_const_(self, constant: Any) -> Any:
        if constant.value.ndim == 0:
            return constant
        if constant not in self.parameters:
            name = f"weight{len(self.parameters)}"
            self.parameters[constant] = relax.Var(name, constant.ty)
        return self.parameters[constant]
