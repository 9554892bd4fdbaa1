"""CPUs: layout, fusion by cache sizes, LLVM, and a thread pool linked into the library."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tvm_flow.backends.base import Backend
from tvm_flow.codegen.emit import emit
from tvm_flow.codegen.library import CompiledLibrary, compile_library, write_objects
from tvm_flow.codegen.schedule_rest import fuse_rest, schedule_rest
from tvm_flow.ir.choice import Chooser
from tvm_flow.ir.generic import generic_operators
from tvm_flow.ir.graph import Graph, Node, unique
from tvm_flow.ir.lowered import Lowered, TensorInfo
from tvm_flow.ir.tasks import Task, merge
from tvm_flow.measure.roofline import peak_of
from tvm_flow.passes.common.as_images import as_images
from tvm_flow.passes.common.fold_affine import fold_affine
from tvm_flow.passes.common.fold_views import fold_views
from tvm_flow.passes.common.fuse_epilogue import fuse_epilogue
from tvm_flow.passes.common.fuse_pconv import fuse_pconv_block, fuse_pconv_pointwise
from tvm_flow.passes.common.name_activations import name_activations
from tvm_flow.passes.common.plain_transposed import plain_transposed
from tvm_flow.passes.common.recognise_pconv import recognise_pconv
from tvm_flow.passes.common.recognise_shuffle import recognise_shuffle
from tvm_flow.passes.common.simplify import simplify
from tvm_flow.passes.common.turn_tokens import turn_tokens
from tvm_flow.passes.cpu.choose_mbconv import choose_mbconv, fusable
from tvm_flow.passes.cpu.fuse_mbconv import fuse_mbconv
from tvm_flow.passes.cpu.keep_nchw import keep_nchw
from tvm_flow.passes.cpu.problems import ways
from tvm_flow.passes.cpu.recognise_matmul import recognise_matmul
from tvm_flow.passes.cpu.to_nhwc import to_nhwc
from tvm_flow.passes.phases import Phase
from tvm_flow.schedules import registry
from tvm_flow.schedules.contract.algorithm import Algorithm
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.schedules.cpu.device import Cpu
from tvm_flow.schedules.cpu.lowering import compile_kernel
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.toolchain.c_compiler import link_library
from tvm_flow.toolchain.runtime_library import sources
from tvm_flow.toolchain.space import require_space


def cpu_of(board: Board, threads: int = 1) -> Cpu:
    """What schedules may know about ``board`` when run on ``threads`` threads."""
    fmas = board.cluster_of(board.cores[0]).fma_per_cycle
    return Cpu(
        board.lanes, board.vector_registers, board.l1_bytes, board.l2_bytes, threads, fmas,
        board.looks_up, board.l3_kib * 1024,
    )  # fmt: skip


def phases(layout: str = "NCHW", cache_bytes: int | None = None) -> list[Phase]:
    """Named graph passes in order.

    ``layout`` is that of 4-D inputs and outputs; ``cache_bytes`` the last cache of the target,
    which decides what is worth keeping out of memory (``None``: nothing).
    """
    last = float("inf") if cache_bytes is None else cache_bytes
    return [
        # what the importer spelt out gets its name back
        ("simplify", simplify),
        ("plain_transposed", plain_transposed),
        ("as_images", as_images),
        ("turn_tokens", turn_tokens),
        ("fold_affine", fold_affine),
        ("name_activations", name_activations),
        ("recognise_pconv", recognise_pconv),
        ("recognise_shuffle", recognise_shuffle),
        # from here on tensors are NHWC and channel slices are offsets
        ("to_nhwc", lambda graph: to_nhwc(graph, border=layout)),
        ("fuse_epilogue", fuse_epilogue),
        ("keep_nchw", keep_nchw),
        ("fuse_pconv_pointwise", fuse_pconv_pointwise),
        ("fuse_pconv_block", fuse_pconv_block),
        ("fold_views", fold_views),
        ("recognise_matmul", recognise_matmul),
        ("fuse_mbconv", lambda graph: fuse_mbconv(graph, last)),
    ]


class CpuBackend(Backend[Cpu]):
    """See the module's text."""

    kind = Cpu.kind
    typical = Cpu(lanes=8, registers=16, l1_bytes=32 << 10, l2_bytes=512 << 10)
    builder = "tvm_flow.tuning.worker.kernel_build:handlers"
    runner = "tvm_flow.tuning.worker.kernel_run:handlers"

    def device(self, board: Board, threads: int = 1) -> Cpu:
        return cpu_of(board, threads)

    def algorithm(self, workload: Workload) -> Algorithm[Cpu]:
        try:
            return registry.algorithm(workload, self.kind)
        except KeyError as error:
            raise UsageError(f"Cannot tune {workload}", why=str(error.args[0])) from error

    def ways(self, node: Node, device: Cpu) -> list[Workload]:
        return ways(node, device)

    def phases(
        self, board: Board | None, layout: str, choose: Chooser | None = None
    ) -> list[Phase]:
        found = phases(layout, None if board is None else cpu_of(board).last_cache_bytes)
        if board is not None and choose is not None:
            cpu = cpu_of(board, board.threads)
            found.append(("choose_mbconv", partial(choose_mbconv, cpu=cpu, choose=choose)))
        return found

    def tasks(self, graph: Graph, device: Cpu) -> list[Task]:
        """Algorithms of one problem are tasks of their own: only the fastest of them will be used.
        A problem that is several nodes at once names theirs as its parts."""
        found = [task for node in graph.nodes() for task in self._tasks_of(node, device)]
        for node, chain in fusable(graph):
            parts = tuple(
                task.problem.key for part in chain for task in self._tasks_of(part, device)[:1]
            )
            found += [replace(task, parts=parts) for task in self._tasks_of(node, device)]
        return [replace(task, modules=unique(task.modules)) for task in merge(found)]

    def _tasks_of(self, node: Node, device: Cpu) -> list[Task]:
        return [Task(way, 1, node.modules) for way in ways(node, device)]

    def lower(
        self, graph: Graph, board: Board, *, choose: Chooser | None = None, layout: str = "NCHW"
    ) -> Lowered:
        cpu = cpu_of(board, board.threads)
        choose = choose or self.default_choice(cpu)
        graph = choose_mbconv(graph, cpu, choose)  # changes nothing where it was a phase
        mod, kernels = emit(graph, cpu, choose, partial(ways, device=cpu))
        names = graph.output_names or [
            f"output{number or ''}" for number in range(len(graph.outputs))
        ]
        mod = schedule_rest(fuse_rest()(mod), cpu.lanes, cpu.threads)
        return Lowered(
            mod=mod,
            board=board,
            device=self.kind,
            model_name=graph.name,
            inputs=[TensorInfo(node.name or "input", node.shape, node.dtype)
                    for node in graph.inputs],
            outputs=[TensorInfo(name, node.shape, node.dtype)
                     for name, node in zip(names, graph.outputs, strict=True)],
            layout=layout,
            kernels=kernels,
            generic=generic_operators(graph, lambda node: bool(ways(node, cpu))),
        )  # fmt: skip

    def compile(self, lowered: Lowered) -> CompiledLibrary:
        return compile_library(lowered)

    def export(self, built: CompiledLibrary, path: Path, board: Board, libc: str) -> None:
        require_space(path.parent, built.plan.weights)
        with tempfile.TemporaryDirectory(prefix="tvm-flow-link-") as folder:
            link_library(
                write_objects(built, Path(folder)), path, arch=board.arch, libc=libc,
                exports="tvmf_module", flags=[f"-I{sources()}"],
            )  # fmt: skip

    def compile_kernel(self, func: Any, board: Board) -> Any:
        return compile_kernel(func, board.tvm_target())

    def peak_gflops(self, board: Board, threads: int) -> float:
        return peak_of(board, threads)


CPU = CpuBackend()
