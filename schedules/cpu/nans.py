"""Minimum and maximum that keep NaN, as PyTorch's and NumPy's do.

TVM's ``max(a, b)`` is ``a > b ? a : b``, which is ``b`` where either is NaN. The cheapest code that
keeps NaN depends on the core, so generators and TVM's own operators write ``max``, and this pass
spells it out when no other pass will turn it round any more.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

#: Instructions of AArch64 that keep NaN; elsewhere LLVM makes several of these.
_ONE_INSTRUCTION = {tirx.Max: "llvm.maximum", tirx.Min: "llvm.minimum"}


@tirx.transform.prim_func_pass(opt_level=0)
def keep_nans(
    func: tirx.PrimFunc, _mod: tvm.IRModule, _context: tvm.transform.PassContext
) -> tirx.PrimFunc:
    """Every ``min`` and ``max`` of floats gives NaN where either operand is. Bits of results change
    in nothing else but the sign of a zero."""
    target = func.attrs["target"]
    aarch64 = "aarch64" in str(target.attrs.get("mtriple", ""))
    spell = _as_intrinsic if aarch64 else _by_order
    body = tvm_ffi.structural_map(func.body, [((tirx.Max, tirx.Min), spell)])
    return func.with_body(body)


def _is_float(value: tirx.Max | tirx.Min) -> bool:
    return "float" in str(value.ty.dtype)


def _as_intrinsic(value: tirx.Max | tirx.Min) -> Any:
    if not _is_float(value):
        return value
    name = _ONE_INSTRUCTION[type(value)]
    return tirx.call_llvm_pure_intrin(value.ty.dtype, name, value.a, value.b)


def _by_order(value: tirx.Max | tirx.Min) -> Any:
    """A NaN on the right is kept by the comparison. Constants go to the left, where that costs
    nothing; else the operand on the left is looked at as well."""
    if not _is_float(value) or _is_constant(value.a):
        return value
    kind = type(value)
    if _is_constant(value.b):
        return kind(value.b, value.a)
    left = tirx.Var("left", value.ty)
    return tirx.Let(left, value.a, tirx.Select(left.equal(left), kind(left, value.b), left))


def _is_constant(value: Any) -> bool:
    return isinstance(value.value if isinstance(value, tirx.Broadcast) else value, tirx.FloatImm)
