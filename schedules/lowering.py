"""How TIR kernels are compiled: the pass settings every build of this project uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tvm
from tvm import tirx

#: Storage rewrite merges the accumulator arrays of different microkernels into one allocation
#: with mixed vector widths, which LLVM then keeps in memory instead of registers (measured: half
#: the speed on 58-channel layers). Kernels allocate their scratch once, so nothing is lost.
PASS_CONFIG: Mapping[str, Any] = {"tirx.disable_storage_rewrite": True}


def pass_context() -> tvm.transform.PassContext:
    """The pass context for every compilation of generated kernels."""
    return tvm.transform.PassContext(opt_level=3, config=dict(PASS_CONFIG))


def compile_kernel(func: tirx.PrimFunc, target: Mapping[str, Any]) -> tvm.runtime.Executable:
    """Compile one kernel for a target given as the plain dict of ``Board.tvm_target()``."""
    name = str(func.attrs["global_symbol"])
    with pass_context():
        return tvm.compile(tvm.IRModule({name: func}), target=tvm.target.Target(dict(target)))
