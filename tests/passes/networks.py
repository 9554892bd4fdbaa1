"""PyTorch snippets through the whole compilation, compared with PyTorch in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import torch
import tvm
from torch import Tensor, nn
from tvm import relax

from tests import linked
from tvm_flow import targets
from tvm_flow.backends.cpu import CPU, phases
from tvm_flow.codegen.vm_executable import compile_executable
from tvm_flow.frontend.export import export, import_program
from tvm_flow.ir.graph import Graph
from tvm_flow.ir.summary import COPIES, summarise
from tvm_flow.passes.phases import run_phases
from tvm_flow.targets import Board

Shape = tuple[int, ...]
TOLERANCE = 1e-5


class Snippet(nn.Module):
    """A forward function with the modules it uses: ``Snippet(lambda m, x: m.conv(x), conv=...)``.

    In eval mode; batch norms have statistics and weights that are not the identity.
    """

    def __init__(self, body: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.body = body
        for name, part in parts.items():
            self.add_module(name, part)
        self.apply(_trained)
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.body(self, x)


def _trained(module: nn.Module) -> None:
    random = torch.Generator().manual_seed(3)
    if isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        assert module.running_var is not None
        with torch.no_grad():
            module.running_mean.normal_(0, 0.3, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
            module.weight.uniform_(0.5, 1.5, generator=random)
            module.bias.normal_(0, 0.3, generator=random)


@dataclass(frozen=True)
class QuickBoard(Board):
    """Code for it is not optimised by LLVM: the kernels are the same, and compile twice as fast.
    What LLVM makes of them is seen by the tests of kernels, of the zoo and of bundles."""

    def tvm_target(self) -> dict[str, object]:
        return {**super().tvm_target(), "opt-level": 0}


@cache
def board() -> Board:
    return targets.load("native")


@cache
def quick_board() -> Board:
    native = board()
    return QuickBoard(**{field.name: getattr(native, field.name) for field in fields(native)})


def imported(module: nn.Module, shape: Shape) -> Graph:
    """The graph before any pass."""
    return import_program(export(module, [np.zeros(shape, np.float32)]), "snippet").graph


def operators(graph: Graph) -> dict[str, int]:
    """How often each operator occurs; views and constants are left out."""
    return summarise(graph).operators


def copies(graph: Graph) -> list[str]:
    """Operators left that only move data."""
    return [node.op for node in graph.nodes() if node.op in COPIES]


def run(
    graph: Graph, x: np.ndarray, layout: str = "NCHW", machine: Board | None = None
) -> list[np.ndarray]:
    """Outputs of an optimised graph, compiled for ``machine``: this one, by default as a bundle
    is."""
    built = compile_executable(CPU.lower(graph, machine or board(), layout=layout))
    vm = relax.VirtualMachine(linked.load(built), tvm.cpu())
    result = vm["main"](tvm.runtime.tensor(x))
    values = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
    return [value.numpy() for value in values]


def flatten(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def check(
    module: nn.Module, shape: Shape, layout: str = "NCHW", cache_bytes: int | None = None
) -> Graph:
    """Compile, run and compare; returns the optimised graph.

    ``cache_bytes`` as for ``backends.cpu.phases``; inputs and results of ``module`` stay NCHW.
    """
    torch.manual_seed(5)
    x = torch.randn(shape)
    with torch.no_grad():
        expected = [y.numpy() for y in flatten(copy.deepcopy(module).double()(x.double().clone()))]
    graph = run_phases(imported(module, shape), phases(layout, cache_bytes))
    nhwc = layout == "NHWC"
    given = x.numpy().transpose(0, 2, 3, 1) if nhwc else x.numpy()
    outputs = run(graph, np.ascontiguousarray(given), layout, quick_board())
    assert len(outputs) == len(expected)
    for number, (y, reference) in enumerate(zip(outputs, expected, strict=True)):
        turned = nhwc and reference.ndim == 4
        wanted = reference.transpose(0, 2, 3, 1) if turned else reference
        assert y.shape == wanted.shape
        error = np.abs(y - wanted).max() / max(np.abs(wanted).max(), 1e-30)
        assert error <= TOLERANCE, f"output {number} of\n{graph.text()}"
    return graph
