"""Activations that no kernel computes, as Relax, against their definition in float64."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from tvm_flow.codegen.activation import activation
from tvm_flow.codegen.legalise import legalise
from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.schedules.cpu.lowering import PIPELINE, pass_context
from tvm_flow.schedules.operators.activations import ACTIVATIONS, function

TEXTS = (*ACTIVATIONS, "clip:-1:1", "clip:-inf:3", "hardswish:0.2:0.5", "silu:1.702",
         "leakyrelu:0.1", "elu:1:1.5")  # fmt: skip
GRID = np.concatenate([np.linspace(-12, 12, 997), [-1e3, -1e-6, 0, 1e-6, 1e3]]).astype(np.float32)


def test_all_of_them() -> None:
    builder, x = relax.BlockBuilder(), relax.Var("x", relax.TensorType(GRID.shape, FLOAT32))
    with builder.function("main", [x]):
        made = [builder.emit(activation(text, x, FLOAT32)) for text in TEXTS]
        builder.emit_func_output(relax.Tuple(made))
    plain = legalise(unscheduled=True)(builder.get())
    with pass_context():
        built = tvm.compile(plain, target="llvm", tir_pipeline=PIPELINE)
    found = relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(GRID))
    for text, y in zip(TEXTS, found, strict=True):
        with np.errstate(over="ignore"):
            wanted = function(text)(GRID.astype(np.float64))
        np.testing.assert_allclose(y.numpy(), wanted, rtol=2e-5, atol=2e-6, err_msg=text)
