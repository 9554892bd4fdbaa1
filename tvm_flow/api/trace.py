"""``trace``: what the compiler makes of a network, before any code is generated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm_flow.api.boards import layout_of
from tvm_flow.api.networks import load_model, optimised
from tvm_flow.api.values import ModelLike
from tvm_flow.backends import backend_of
from tvm_flow.ir.generic import GenericOperator, generic_operators, remark
from tvm_flow.ir.graph import Graph
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.ir.summary import Summary, summarise
from tvm_flow.ir.tasks import Task, one_way


@dataclass(frozen=True)
class TraceReport:
    """A network before and after the graph passes.

    ``before`` and ``after`` count operators, copies (operators that only move data) and the bytes
    every operator reads and writes per run, weights included, if each tensor crosses memory once
    per use. ``tasks`` are the distinct kernels there are to tune (of those of the same
    problem only the fastest is used), ``generic`` the operators that no kernel computes, ``macs``
    the multiply-accumulates of one run.
    ``text_before`` and ``text_after`` list the graphs, one node per line.
    """

    model: str
    inputs: tuple[InputSpec, ...]
    layout: str
    before: Summary
    after: Summary
    tasks: tuple[Task, ...]
    generic: tuple[GenericOperator, ...]
    macs: int
    text_before: str
    text_after: str
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user, one line each; ``remarks`` are those on the model itself."""
        return (*self.remarks, *remark(self.generic, self.macs))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return self.inputs[0].shape

    @property
    def copies_removed(self) -> int:
        return self.before.copies - self.after.copies

    def to_json(self) -> dict[str, Any]:
        """All fields as plain data; a task has the keys of its problem and of its parts."""
        return {
            "model": self.model,
            "input_shape": list(self.input_shape),
            "inputs": [asdict(spec) for spec in self.inputs],
            "layout": self.layout,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "copies_removed": self.copies_removed,
            "macs": self.macs,
            "generic": [asdict(operator) for operator in self.generic],
            "tasks": [
                {
                    "problem": t.problem.key,
                    "algorithm": t.workload.algorithm,
                    "parts": list(t.parts),
                    "count": t.count,
                    "modules": list(t.modules),
                }
                for t in self.tasks
            ],
            "graph_before": self.text_before.splitlines(),
            "graph_after": self.text_after.splitlines(),
        }


def trace(
    model: ModelLike,
    *,
    layout: str = "NCHW",
    device: str = "cpu",
) -> TraceReport:
    """Import a network, run the graph passes over it, and hold both against the model; nothing is
    compiled.

    Parameters
    ----------
    model: a name of the zoo, ``file.py:factory``, ``model.pt2``, ``model.onnx``, TorchScript,
        or a module; with
        weights or an input shape, a :class:`tvm_flow.Model`.
    layout: order of 4-D inputs and outputs of the compiled network, ``NCHW`` or ``NHWC``.
    device: the kind of device whose passes run.

    Raises :class:`UsageError`, :class:`ModelError`, :class:`ImportUnsupportedError`, and
    :class:`CompileError` for a pass that changes what the network computes.
    """
    layout = layout_of(layout)
    backend = backend_of(device)
    loaded = load_model(model)
    imported: list[tuple[Summary, str]] = []

    def observe(phase: str, graph: Graph) -> None:
        if phase == "imported":  # the passes consume it
            imported.append((summarise(graph), graph.text()))

    graph = optimised(loaded, backend, None, layout, observe).graph
    ((before, text_before),) = imported
    tasks = backend.tasks(graph, backend.typical)
    generic = generic_operators(graph, lambda node: bool(backend.ways(node, backend.typical)))
    return TraceReport(
        model=graph.name,
        inputs=tuple(InputSpec(node.shape, node.dtype, node.name) for node in graph.inputs),
        layout=layout,
        before=before,
        after=summarise(graph),
        tasks=tuple(tasks),
        generic=generic,
        macs=sum(t.count * t.macs for t in one_way(tasks)) + sum(o.macs for o in generic),
        text_before=text_before,
        text_after=graph.text(),
        remarks=loaded.remarks,
    )
