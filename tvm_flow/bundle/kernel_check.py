"""Kernels for another machine, run one by one on their own shapes before anybody has that machine.

Each is run once per build by the program of every bundle, under QEMU where the processor is
another one, and compared with its operator. What has passed is remembered in the user's cache.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor
from tvm.target import codegen

from tvm_flow.backends import backend_of
from tvm_flow.boards.emulate import emulator_command
from tvm_flow.bundle.plan_file import PlanHeader
from tvm_flow.bundle.single_kernel import SingleKernel, generated, generic
from tvm_flow.bundle.write import LIBRARY, file_stamp
from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.lowered import KernelInfo, Lowered
from tvm_flow.ir.plan import PlannedKernel
from tvm_flow.support.errors import EnvironmentFault, NumericsError
from tvm_flow.support.resources import package_file
from tvm_flow.support.user_folders import cache_root
from tvm_flow.targets import Board
from tvm_flow.toolchain.runtime_library import RUNNER, runtime_library
from tvm_flow.verify.compare import TOLERANCE, relative_error, told
from tvm_flow.verify.network import one_thread

#: Of all kernels of a compilation together; the next one goes on with those that are left.
BUDGET_S = 120.0
#: Of one kernel.
_LIMIT_S = 300.0
_PLACE = "verified-kernels"


@dataclass(frozen=True)
class KernelCheck:
    """Of ``total`` distinct kernels, ``passed`` were run ``how`` and are right, ``cached`` of them
    in an earlier compilation; ``why`` the others were not. ``seconds``: what it took."""

    total: int
    passed: int
    cached: int
    how: str
    why: str
    seconds: float

    def __str__(self) -> str:
        if not self.total:
            return "no kernels to verify"
        if not self.passed:
            return f"kernels not run yet: {self.why}"
        share = f"{self.passed} of {self.total}" + (
            f", {self.cached} from cache" if self.cached else ""
        )
        rest = f"; the others not run yet: {self.why}" if self.why else ""
        return f"kernels verified {self.how} ({share}) in {self.seconds:.1f} s{rest}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_kernels(lowered: Lowered, built: CompiledLibrary, header: PlanHeader) -> KernelCheck:
    """Run every kernel that has not passed before. ``header`` is that of the network's plan.

    Without an emulator nothing is run, which is no error. Raises :class:`NumericsError` with name,
    modules and target of a kernel that is wrong or does not end.
    """
    start, total = time.perf_counter(), len(built.plan.kernels)
    marks = [(kernel, _mark(lowered, kernel, built)) for kernel in built.plan.kernels]
    todo = [(kernel, mark) for kernel, mark in marks if not mark.exists()]
    how = "on this machine" if lowered.board.arch == platform.machine() else "under QEMU"
    passed, why = 0, ""
    if todo:
        try:
            machine = _Machine.of(lowered.board, how)
        except EnvironmentFault as fault:
            why = f"{fault.why}, {fault.fix}"
        else:
            with tempfile.TemporaryDirectory(prefix="tvm-flow-kernels-") as folder, one_thread():
                checker = _Checker(lowered, built, header, Path(folder), machine)
                passed = checker.check_all(todo, start + BUDGET_S)
            if passed < len(todo):
                why = f"{BUDGET_S:.0f} s were spent, compile again to go on"
    known = total - len(todo)
    return KernelCheck(total, known + passed, known, how, why, time.perf_counter() - start)


@dataclass(frozen=True)
class _Machine:
    """What runs a program of a board: ``command`` goes before it. ``how``: in words."""

    command: tuple[str, ...]
    runner: Path
    how: str

    @classmethod
    def of(cls, board: Board, how: str) -> _Machine:
        """Raises :class:`EnvironmentFault` where there is no such thing, or it does not work."""
        command = tuple(emulator_command(board))
        made = cls(command, runtime_library(board.arch, board.glibc_floor) / RUNNER, how)
        try:
            done = made.run("--help")
            why = _last(done) if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why:
            what = f"Cannot run programs of {board.name} here"
            raise EnvironmentFault(what, why=why, fix="see tvm-flow doctor")
        return made

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, str(self.runner), *arguments],
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@dataclass(frozen=True)
class _Checker:
    lowered: Lowered
    built: CompiledLibrary
    header: PlanHeader
    folder: Path
    machine: _Machine

    @cached_property
    def linked(self) -> PlanHeader:
        """The header for the kernels as they are linked in the folder: for glibc, also where the
        network is for a system without it."""
        board, library = self.lowered.board, self.folder / LIBRARY
        backend_of(self.lowered.device).export(self.built, library, board, board.glibc_floor)
        return replace(self.header, code=file_stamp(library))

    def check_all(self, todo: Sequence[tuple[PlannedKernel, Path]], end: float) -> int:
        """Check kernels, leaving the mark of each, until the time ``end``; how many."""
        for number, (kernel, mark) in enumerate(todo):
            if time.perf_counter() > end:
                return number
            self.check(kernel)
            _remember(mark)
        return len(todo)

    def check(self, kernel: PlannedKernel) -> None:
        """Raises :class:`NumericsError`."""
        case = self._case(kernel)
        case.write(self.folder, self.linked)
        for actual, expected in zip(self._outputs(case), case.expected, strict=True):
            if not relative_error(actual, expected) <= TOLERANCE:
                raise self._wrong(kernel, told(actual, expected))

    def _outputs(self, case: SingleKernel) -> list[Tensor]:
        result = self.folder / "y.npy"
        try:
            done = self.machine.run(
                "--bundle", str(self.folder), "--runs", "0", "--json", "--save", str(result)
            )
        except subprocess.TimeoutExpired:
            raise self._wrong(case.kernel, f"it does not end within {_LIMIT_S:.0f} s") from None
        if done.returncode:
            raise self._wrong(case.kernel, _last(done))
        more = [self.folder / f"y_{number}.npy" for number in range(2, len(case.expected) + 1)]
        return [torch.from_numpy(np.load(path)) for path in (result, *more)]

    def _case(self, kernel: PlannedKernel) -> SingleKernel:
        board = self.lowered.board
        backend = backend_of(self.lowered.device)
        if info := _info(self.lowered, kernel):
            device = backend.device(board, board.threads)
            return generated(kernel, info.workload, backend, device)
        return generic(kernel, self.built.functions[kernel.symbol], self.built)

    def _wrong(self, kernel: PlannedKernel, why: str) -> NumericsError:
        info = _info(self.lowered, kernel)
        modules = f" of {', '.join(info.modules)}" if info and info.modules else ""
        computed = f" computes {info.problem} by {info.algorithm}" if info else " runs"
        return NumericsError(
            f"the kernel {kernel.symbol}{modules} is wrong on {self.lowered.board.name}",
            why=f"run {self.machine.how}, it{computed}: {why}",
            fix="compile with other records (--records), and report it with the model",
        )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"it ends with {done.returncode}"


def _info(lowered: Lowered, kernel: PlannedKernel) -> KernelInfo | None:
    return next((info for info in lowered.kernels if info.symbol == kernel.symbol), None)


def _mark(lowered: Lowered, kernel: PlannedKernel, built: CompiledLibrary) -> Path:
    """The file that is there once this kernel has passed: named by all that its machine code
    follows from, and what it is compared with."""
    info = _info(lowered, kernel)
    parts = [
        str(built.target), _build(), info.problem if info else "",
        tvm.ir.save_json(built.functions[kernel.symbol]),
    ]  # fmt: skip
    return cache_root() / _PLACE / hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def _build() -> str:
    """What turns a kernel's program into machine code."""
    digest = hashlib.sha256(f"{tvm.__version__} {codegen.llvm_version_major()}".encode())
    for source in sorted(package_file("schedules", "cpu").glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _remember(mark: Path) -> None:
    """Where the cache cannot be written, the kernel is run again next time."""
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return
