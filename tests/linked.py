"""Compiled code as libraries, as in bundles and for the tuner."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

import tvm

from tvm_flow.toolchain.linker import find_linker


def load(built: Any) -> tvm.runtime.Module:
    """``built`` (from ``tvm.compile`` or ``relax.build``) for this machine, linked and loaded.

    With a low ``opt-level`` this takes half the time of TVM's just-in-time compiler, which
    optimises the machine code of whatever it is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "built.so")
        built.export_library(path, fcompile=find_linker(platform.machine()).fcompile)
        return tvm.runtime.load_module(path)
