"""The driver of emulated kernels, run without the emulator: arguments of any element type."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import tvm

from tests.schedules import lab
from tests.schedules.typed_kernels import TypedDirect
from tvm_flow import targets
from tvm_flow.modelled.emulate import _decode, _encode
from tvm_flow.modelled.tools import build_helpers
from tvm_flow.schedules.contract.dtypes import FLOAT16, FLOAT32, INT8, UINT8, DType
from tvm_flow.schedules.contract.problem import Problem
from tvm_flow.schedules.cpu.lowering import KERNEL_PIPELINE, target_of
from tvm_flow.toolchain.linker import find_linker
from tvm_flow.tuning.worker.protocol import SYMBOL
from tvm_flow.tuning.worker.trial_data import pose


@pytest.mark.skipif(not lab.AVX2.runs_here, reason="the kernels are for AVX2")
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT8, UINT8])
def test_arguments_have_their_types(dtype: DType, tmp_path: Path) -> None:
    problem = Problem.make("typed_conv", h=3, w=4, ci=5, co=6, dtype=dtype, act="relu")
    algorithm, cpu, arch = TypedDirect(), lab.AVX2.cpu, platform.machine()
    func = algorithm.build(problem, cpu, {"mt": 3}, SYMBOL)
    library, arguments = tmp_path / "kernel.so", tmp_path / "arguments.bin"
    # with the checks of arguments that kernels have unless they are compiled as lowering.py does
    target = target_of(targets.load("native").tvm_target())
    built = tvm.compile(tvm.IRModule({SYMBOL: func}), target=target, tir_pipeline=KERNEL_PIPELINE)
    built.export_library(str(library), fcompile=find_linker(arch).fcompile)
    data = pose(algorithm, problem, cpu, seed=0, file=tmp_path / "y.npz")
    buffers, shapes = data.buffers(), [spec.shape for spec in data.specs]
    arguments.write_bytes(_encode(buffers, shapes))
    driver, _ = build_helpers(arch)
    subprocess.run([driver, library, arguments], check=True, timeout=60)
    _decode(arguments.read_bytes(), buffers, shapes)
    data.check(buffers, 1e-5)
