"""``trace``: what the compiler makes of a network, before any code is generated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tvm_flow.api.boards import layout_of
from tvm_flow.api.networks import load_model, to_graph
from tvm_flow.api.values import ModelLike
from tvm_flow.backends import backend_of
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.ir.summary import Summary, summarise
from tvm_flow.ir.tasks import Task, one_way


@dataclass(frozen=True)
class TraceReport:
    """A network before and after the graph passes.

    ``before`` and ``after`` count operators, copies (operators that only move data) and the bytes
    every operator reads and writes per run, weights included, if each tensor crosses memory once
    per use. ``tasks`` are the distinct kernels there are to tune (of those of the same
    problem only the fastest is used), ``macs`` the multiply-accumulates of one run in them.
    ``text_before`` and ``text_after`` list the graphs, one node per line.
    """

    model: str
    inputs: tuple[InputSpec, ...]
    layout: str
    before: Summary
    after: Summary
    tasks: tuple[Task, ...]
    macs: int
    text_before: str
    text_after: str

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
    """Import a network and run the graph passes over it; nothing is compiled.

    Parameters
    ----------
    model: a name of the zoo, ``file.py:factory``, ``model.pt2``, ``model.onnx``, or a module; with
        weights or an input shape, a :class:`tvm_flow.Model`.
    layout: order of 4-D inputs and outputs of the compiled network, ``NCHW`` or ``NHWC``.
    device: the kind of device whose passes run.

    Raises :class:`UsageError`, :class:`ModelError` and :class:`ImportUnsupportedError`.
    """
    layout = layout_of(layout)
    backend = backend_of(device)
    loaded = load_model(model)
    graph = to_graph(loaded)
    before, text_before = summarise(graph), graph.text()
    graph = backend.optimise(graph, layout=layout)
    tasks = backend.tasks(graph, backend.typical)
    return TraceReport(
        model=graph.name,
        inputs=tuple(InputSpec(node.shape, node.dtype, node.name) for node in graph.inputs),
        layout=layout,
        before=before,
        after=summarise(graph),
        tasks=tuple(tasks),
        macs=sum(t.count * t.macs for t in one_way(tasks)),
        text_before=text_before,
        text_after=graph.text(),
    )
