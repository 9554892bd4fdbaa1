"""What a model computes at every place that has a name, apart from the import.

The names are those of the exported program's FX nodes, or of an ONNX graph's values. The import
records which node of the graph holds each (:class:`Imported`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from tvm_flow.frontend.onnx_reference import Reference as OnnxReference
from tvm_flow.frontend.operators import where
from tvm_flow.ir.graph import Graph, Node

#: All values by name, and the outputs in order.
Values = tuple[dict[str, Tensor], list[Tensor]]


class Source(Protocol):
    """A model that can be computed value by value."""

    @property
    def judge(self) -> str:
        """Who says what is right, for messages."""

    def values(self, inputs: Sequence[Tensor], names: Collection[str]) -> Values:
        """The values called ``names``, as far as they are tensors, and the outputs."""

    def place(self, name: str) -> str:
        """The operator that makes a value, and where it stands in the model."""

    def ask_another(self) -> bool:
        """From now on have another judge say what is right. Whether there is one."""


@dataclass(frozen=True)
class Imported:
    """A graph as it was imported. ``origins`` maps names of ``source`` to the nodes that hold the
    values; passes consume the graph, so it must be looked at before they run."""

    graph: Graph
    origins: dict[str, Node]
    source: Source


class ProgramSource:
    """An exported program, interpreted."""

    judge = "PyTorch"

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._nodes = {node.name: node for node in program.graph.nodes}

    def values(self, inputs: Sequence[Tensor], names: Collection[str]) -> Values:
        interpreter = _Recorder(self._program.graph_module, names)
        with torch.no_grad():
            results = interpreter.run(*self._arguments(inputs))
        specs = self._program.graph_signature.output_specs
        outputs = [
            value
            for spec, value in zip(specs, results, strict=True)
            if spec.kind is OutputKind.USER_OUTPUT and isinstance(value, Tensor)
        ]
        return interpreter.found, outputs

    def _arguments(self, inputs: Sequence[Tensor]) -> list[Any]:
        given, stored = iter(inputs), {**self._program.constants, **self._program.state_dict}
        arguments: list[Any] = []
        for spec in self._program.graph_signature.input_specs:
            if spec.kind is not InputKind.USER_INPUT:
                arguments.append(stored[str(spec.target)])
            elif hasattr(spec.arg, "value"):
                arguments.append(spec.arg.value)
            else:
                arguments.append(next(given).clone())  # a model may write into its input
        return arguments

    def ask_another(self) -> bool:
        return False

    def place(self, name: str) -> str:
        node = self._nodes[name]
        return f"the operator {node.target}{_arguments_of(node)} ({where(node)})"


_UNINITIALISED = frozenset({torch.ops.aten.empty.memory_format, torch.ops.aten.empty_like.default})


class _Recorder(fx.Interpreter):
    """Keeps the values of the nodes called ``names``."""

    def __init__(self, module: fx.GraphModule, names: Collection[str]) -> None:
        super().__init__(module)
        self._names = set(names)
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.target in _UNINITIALISED:  # nothing depends on it; whatever is there must not differ
            value = torch.zeros_like(value)
        if n.name in self._names and isinstance(value, Tensor):
            self.found[n.name] = value.detach()
        return value


def _arguments_of(node: fx.Node) -> str:
    """Arguments that are no tensors: indices, axes, sizes."""
    plain = [a for a in node.args if not _has_tensors(a)]
    named = [f"{k}={v}" for k, v in node.kwargs.items() if not _has_tensors(v)]
    shown = [*map(str, plain), *named]
    return f" with {', '.join(shown)}" if shown else ""


def _has_tensors(argument: Any) -> bool:
    if isinstance(argument, tuple | list):
        return any(_has_tensors(item) for item in argument)
    return isinstance(argument, fx.Node)


class OnnxSource:
    """An ONNX model by its reference."""

    def __init__(self, model: onnx.ModelProto, reference: OnnxReference) -> None:
        self._model, self._reference = model, reference
        self._nodes = {name: node for node in model.graph.node for name in node.output}

    @property
    def judge(self) -> str:
        return self._reference.name

    def values(self, inputs: Sequence[Tensor], names: Collection[str]) -> Values:
        found = self._reference.values([value.numpy() for value in inputs])
        kept = {name: found[name] for name in names if isinstance(found.get(name), np.ndarray)}
        outputs = [np.asarray(found[value.name]) for value in self._model.graph.output]
        return {name: _tensor(value) for name, value in kept.items()}, list(map(_tensor, outputs))

    def ask_another(self) -> bool:
        """Where ONNX Runtime and ONNX's definition differ, the definition counts."""
        return self._reference.without_runtime()

    def place(self, name: str) -> str:
        node = self._nodes[name]
        attributes = ", ".join(
            onnx.helper.printable_attribute(a) for a in node.attribute if not a.HasField("t")
        )
        shown = f" with {attributes}" if attributes else ""
        return f"the ONNX operator {node.op_type}{shown} (node {node.name or name})"


def _tensor(value: np.ndarray) -> Tensor:
    # NumPy has two names for 64 bits without a sign, of which PyTorch knows one
    return torch.from_numpy(np.array(value, order="C").view(value.dtype.name))
