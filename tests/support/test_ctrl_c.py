"""Ctrl-C where another program's code is between us and the terminal."""

from __future__ import annotations

import signal
import sys

import pytest
import tvm

from tvm_flow.schedules.cpu import lowering
from tvm_flow.toolchain.linker import run_tool


def test_in_a_pass_that_tvm_calls() -> None:
    """TVM knows the names of a few exceptions only."""

    @tvm.transform.module_pass(opt_level=0)
    def interrupted(mod: tvm.IRModule, _: object) -> tvm.IRModule:
        signal.raise_signal(signal.SIGINT)
        return mod

    with lowering.pass_context(), pytest.raises(KeyboardInterrupt):
        tvm.transform.Sequential([interrupted])(tvm.IRModule())


def test_a_tool_that_hears_of_it_first() -> None:
    itself = "import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)"
    with pytest.raises(KeyboardInterrupt):
        run_tool([sys.executable, "-c", itself], "Linking", 60)
