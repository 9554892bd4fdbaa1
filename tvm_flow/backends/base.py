"""The interface between the compiler, the tuner and bundles on one side and a device on the other.

A *board* (``targets/``) has a CPU and maybe a GPU; a *backend* is all that the rest of the project
must know to compile for one of them, to tune on it and to deploy to it. Everything above this
package asks a backend; nothing above it names a device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Generic, TypeVar

from tvm_flow.codegen.library import CompiledLibrary
from tvm_flow.ir.choice import Choice, Chooser
from tvm_flow.ir.graph import Graph, Node
from tvm_flow.ir.lowered import Lowered
from tvm_flow.ir.tasks import Task, one_way
from tvm_flow.passes.phases import Observer, Phase, run_phases
from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.device import Device
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.targets import Board

D = TypeVar("D", bound=Device)


class Backend(ABC, Generic[D]):
    """One kind of device.

    ``kind`` is its name in records, manifests and options. ``builder`` and ``runner`` name what
    builds, and what checks and times, candidates in worker processes of the tuner: a
    ``module:function`` that returns the handlers of requests.
    """

    kind: str
    #: for questions whose answer hardly depends on which device it is, where no board is named
    typical: D
    builder: str
    runner: str

    @abstractmethod
    def device(self, board: Board, threads: int = 1) -> D:
        """What schedules may know of the board's device, when run on ``threads`` host threads."""

    @abstractmethod
    def algorithm(self, workload: Workload) -> Algorithm[D]:
        """What computes a workload. Raises :class:`UsageError` if nothing does."""

    @abstractmethod
    def ways(self, node: Node, device: D) -> list[Workload]:
        """The ways to compute a node, the one to take without measurements first; empty for a node
        that no kernel computes."""

    @abstractmethod
    def phases(
        self, board: Board | None, layout: str, choose: Chooser | None = None
    ) -> list[Phase]:
        """Named graph passes in order. ``layout`` is that of 4-D inputs and outputs, ``NCHW`` or
        ``NHWC``. Without a board, nothing is done that depends on its caches; with ``choose``, what
        depends on knobs and their times is decided as well."""

    @abstractmethod
    def tasks(self, graph: Graph, device: D) -> list[Task]:
        """What there is to tune in an optimised graph, in order of first use."""

    @abstractmethod
    def lower(
        self, graph: Graph, board: Board, *, choose: Chooser | None = None, layout: str = "NCHW"
    ) -> Lowered:
        """Optimised graph -> Relax with kernels in place. By default every kernel has its default
        knobs. Raises :class:`CompileError` where a kernel cannot be generated."""

    @abstractmethod
    def compile(self, lowered: Lowered) -> CompiledLibrary:
        """Machine code of a lowered network. Raises :class:`CompileError`."""

    @abstractmethod
    def export(self, built: CompiledLibrary, path: Path, board: Board, libc: str) -> None:
        """Link the shared library ``path`` for ``libc`` (see :mod:`tvm_flow.toolchain.c_compiler`).
        Raises :class:`CompileError`, also on a full disk."""

    @abstractmethod
    def compile_kernel(self, func: Any, board: Board) -> Any:
        """Machine code of one TIR function, as a TVM executable."""

    @abstractmethod
    def peak_gflops(self, board: Board, threads: int) -> float:
        """GFLOP/s (1 FMA = 2 FLOPs) that the device reaches at most, in fp32: measured where it is
        this machine, else what its data sheet gives."""

    def optimise(
        self,
        graph: Graph,
        board: Board | None = None,
        layout: str = "NCHW",
        observe: Observer | None = None,
    ) -> Graph:
        """Run all :meth:`phases`. The graph passed in is consumed."""
        return run_phases(graph, self.phases(board, layout), observe)

    def default_choice(self, device: D) -> Chooser:
        """Default knobs for everything."""
        return lambda work: Choice(self.algorithm(work).default(work.problem, device), "default")

    def weight_bytes(self, tasks: list[Task], board: Board, threads: int) -> int:
        """Bytes of all weights of a network, the first way of computing each layer taken."""
        device, total = self.device(board, threads), 0
        for task in one_way(tasks):
            packed = self.algorithm(task.workload).weights(task.problem, device)
            total += task.count * sum(spec.bytes for spec in packed)
        return total
