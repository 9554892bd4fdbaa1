"""Loaded model -> exported program -> Relax -> :class:`tvm_flow.graph.Graph`."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import tvm
from torch import fx, nn
from torch.export import ExportedProgram
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from tvm_flow.errors import ImportUnsupportedError, ModelError
from tvm_flow.frontend import onnx as onnx_frontend
from tvm_flow.frontend.forward import Shape, shape_text
from tvm_flow.frontend.model import LoadedModel
from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.relax_import import from_relax
from tvm_flow.frontend.weights import first_line
from tvm_flow.graph import Graph

_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def to_graph(model: LoadedModel) -> Graph:
    """Import ``model`` into the graph the passes work on.

    Outputs are in the order of the model's tuple; a single tensor gives one output. Parameters
    keep the paths of their PyTorch modules.

    Raises :class:`ModelError` if PyTorch cannot export the model, and
    :class:`ImportUnsupportedError`, with operator, module path and source line, if TVM cannot
    import it.
    """
    if model.onnx is not None:
        return onnx_frontend.to_graph(model.onnx, model.name)
    program = model.program
    if program is None:
        assert model.module is not None
        program = export(model.module, model.input_shape)
    return import_program(program, model.name)


def export(module: nn.Module, shape: Shape) -> ExportedProgram:
    """``torch.export`` for one fp32 input of ``shape``.

    Raises :class:`ModelError` when the graph depends on data or cannot be traced.
    """
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, (torch.zeros(shape),), strict=False)
    except Exception as error:
        frames = [f for f in _FRAME.findall(str(error)) if not f[0].startswith(_TORCH)]
        place = f" at {frames[-1][0]}:{frames[-1][1]}" if frames else ""
        raise ModelError(
            f"PyTorch cannot export the model for an input of {shape_text(shape)}",
            why=f"{type(error).__name__}: {first_line(error)}{place}",
            fix="make the forward pass independent of the values of tensors; torch.export.export "
            "on the model shows the whole report",
        ) from error


def import_program(program: ExportedProgram, name: str) -> Graph:
    """Exported program -> graph. Raises as :func:`to_graph` does."""
    _check_stateless(program)
    with quiet():
        program = program.run_decompositions()
    importer = ExportedProgramImporter()
    for node in _calls(program):
        if _target(node) not in importer.convert_map:
            raise ImportUnsupportedError(
                f"TVM cannot import the operator {node.target}",
                why=f"it is used {_where(node)}",
                fix="replace it in the model by operators that TVM knows",
            )
    signature = program.graph_signature
    parameters = {
        placeholder: (path, program.state_dict[path].detach().numpy())
        for placeholder, path in signature.inputs_to_parameters.items()
    }
    # Buffers and lifted constants become constants of the Relax function.
    return from_relax(_translate(importer, program), parameters, name)


def _translate(importer: ExportedProgramImporter, program: ExportedProgram) -> tvm.IRModule:
    try:
        with quiet():
            return importer.from_exported_program(program, True, False, False, None)
    except Exception as error:
        pending = [node for node in _calls(program) if node not in importer.env]
        what, where = "the model", ""
        if pending:
            what, where = f"the operator {pending[0].target}", f" ({_where(pending[0])})"
        raise ImportUnsupportedError(
            f"TVM cannot import {what} as it is used here{where}",
            why=f"{type(error).__name__}: {first_line(error)}",
            fix="write that part of the model in another way",
        ) from error


def _check_stateless(program: ExportedProgram) -> None:
    changed = list(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise ModelError(
            f"The model changes its buffer {changed[0]} while it runs",
            why="a compiled model keeps no state",
            fix="export it in eval mode, and without counters or running statistics",
        )


def _calls(program: ExportedProgram) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


def _target(node: fx.Node) -> str:
    return getattr(node.target, "__name__", str(node.target))


def _where(node: fx.Node) -> str:
    """``in features.3 (LayerNorm) at model.py:12``: as much of it as the exporter kept."""
    parts = []
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if stack:
        path, kind = stack[-1]
        kind = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
        parts.append(f"in {path} ({kind})" if path else f"in the forward of {kind}")
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if not frame[0].startswith(_TORCH)]
    if own:
        parts.append(f"at {own[-1][0]}:{own[-1][1]}")
    return " ".join(parts) or f"as {node.name}"
