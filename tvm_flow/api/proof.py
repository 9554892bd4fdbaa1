"""What is known of a bundle before it is in place, and what its manifest says of that."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_flow.api.check import CheckReport
from tvm_flow.api.values import BUNDLE
from tvm_flow.api.verify import verify
from tvm_flow.bundle.kernel_check import KernelCheck, check_kernels
from tvm_flow.bundle.plan_file import PlanHeader
from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.lowered import Lowered
from tvm_flow.targets import Board
from tvm_flow.toolchain.c_compiler import MUSL

#: How a user sees whether the whole runs on another machine.
_HOW = {
    (BUNDLE, True): ": ./install.sh there",
    (BUNDLE, False): ": python3 run.py --check there",
}


@dataclass
class Proof:
    """The whole network is run where this machine can, else its kernels are, one by one.

    ``foreign``: why this machine cannot run it. ``network`` and ``kernels`` are there once they
    are known.
    """

    format: str
    foreign: str | None
    network: CheckReport | None = None
    kernels: KernelCheck | None = None

    @classmethod
    def of(cls, format: str, board: Board, libc: str | None) -> Proof:
        """For what is compiled for ``board`` and ``libc``."""
        if board.arch != platform.machine():
            return cls(format, f"this machine is {platform.machine()}")
        # TVM and PyTorch are made for glibc: so is the system that they run on
        return cls(format, "this machine's C library is not musl" if libc == MUSL else None)

    def before(
        self, lowered: Lowered, built: CompiledLibrary, header: PlanHeader
    ) -> dict[str, Any]:
        """Before the manifest is written; what goes into it. A bundle that fails :meth:`accept`
        is never seen."""
        if self.foreign is None:
            return {"network": True}
        self.kernels = check_kernels(lowered, built, header)
        return {"network": False, "kernels": self.kernels.to_json()}

    def accept(self, made: Path, bundle: Path) -> None:
        """What is there but for its place. Raises as :func:`tvm_flow.api.verify.verify`."""
        if self.foreign is None:
            self.network = verify(made, bundle, self.format)

    def notes(self, *, runner: bool) -> list[str]:
        """What is left to do on the machine it is for."""
        if self.foreign is None:
            return []
        how = _HOW.get((self.format, runner), "")
        return [f"the whole network is not run here, {self.foreign}{how}"]
