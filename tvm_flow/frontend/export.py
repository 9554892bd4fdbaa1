"""Loaded model -> exported program -> Relax -> :class:`tvm_flow.ir.graph.Graph`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import tvm
from torch import fx, nn
from torch.export import ExportedProgram

from tvm_flow.frontend import onnx as onnx_frontend
from tvm_flow.frontend.apart.program import taken_apart
from tvm_flow.frontend.forward import reference_mode
from tvm_flow.frontend.inputs import Array
from tvm_flow.frontend.model import LoadedModel
from tvm_flow.frontend.operators import calls, check_operators, user_line, where
from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.relax_import import from_relax
from tvm_flow.frontend.source import Imported, ProgramSource
from tvm_flow.frontend.torch_importer import Importer
from tvm_flow.frontend.weights import first_line
from tvm_flow.ir.graph import Graph
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ImportUnsupportedError, ModelError


def to_graph(model: LoadedModel) -> Graph:
    """The graph of :func:`import_model`."""
    return import_model(model).graph


def import_model(model: LoadedModel) -> Imported:
    """Import ``model`` into the graph the passes work on.

    Outputs are in the order of the model's tuple; a single tensor gives one output. Parameters
    keep the paths of their PyTorch modules.

    Raises :class:`ModelError` if PyTorch cannot export the model, and
    :class:`ImportUnsupportedError`, with operator, module path and source line, if TVM cannot
    import it.
    """
    if model.onnx is not None:
        assert model.onnx_reference is not None
        imported = onnx_frontend.import_onnx(model.onnx, model.onnx_reference, model.name)
    else:
        program = model.program
        if program is None:
            assert model.module is not None
            program = export(model.module, model.sample, model.keywords)
        imported = import_program(program, model.name)
    graph = imported.graph
    for node, spec in zip(graph.inputs, model.inputs, strict=True):
        node.name = spec.name
    if len(graph.outputs) != len(model.outputs):
        raise ImportUnsupportedError(
            f"The model returns {len(model.outputs)} tensors, and {len(graph.outputs)} when it is "
            "exported",
            fix="return the same ones whatever the input is",
        )
    graph.output_names = model.outputs
    _require_elements(graph)
    return imported


def _require_elements(graph: Graph) -> None:
    """Raise :class:`ImportUnsupportedError` for an operator that has nothing to compute, or
    nothing to compute it from."""
    for node in graph.nodes():
        if node.op in ("input", "const"):
            continue
        shapes = [node.shape, *(source.shape for source in node.inputs)]
        shapes += [weight.shape for weight in node.weights.values()]
        if empty := [shape for shape in shapes if 0 in shape]:
            place = f" in {node.modules[0]}" if node.modules else ""
            raise ImportUnsupportedError(
                f"The model computes with a tensor without elements{place}",
                why=f"{node.op} has one of the shape {empty[0]} for this input",
                fix="pass a larger --input, or leave that part of the model out",
            )


def export(
    module: nn.Module, sample: Sequence[Array], keywords: Sequence[str] = ()
) -> ExportedProgram:
    """``torch.export`` for inputs like ``sample``, of which the last, ``keywords``, are passed by
    their names.

    Raises :class:`ModelError` when the graph depends on data or cannot be traced.
    """
    tensors = [torch.tensor(array) for array in sample]
    count = len(tensors) - len(keywords)
    named = dict(zip(keywords, tensors[count:], strict=True))
    try:
        with quiet(), reference_mode():
            return torch.export.export(module, tuple(tensors[:count]), named, strict=False)
    except Exception as error:
        place = user_line(str(error))
        shapes = " and ".join(str(InputSpec(a.shape, str(a.dtype))) for a in sample)
        raise ModelError(
            f"PyTorch cannot export the model for an input of {shapes}",
            why=f"{type(error).__name__}: {first_line(error)}" + (f" at {place}" if place else ""),
            fix="make the forward pass independent of the values of tensors; torch.export.export "
            "on the model shows the whole report",
        ) from error


def import_program(program: ExportedProgram, name: str) -> Imported:
    """Exported program -> graph. Raises as :func:`import_model` does."""
    importer = Importer()
    program = _decomposed(program, importer.convert_map.keys())
    _leave_none_out(program)
    _check_stateless(program)
    check_operators(program, importer.convert_map)
    parameters = {
        placeholder: (path, program.state_dict[path].detach().numpy())
        for placeholder, path in program.graph_signature.inputs_to_parameters.items()
    }
    # Buffers and lifted constants become constants of the Relax function.
    mod = _translate(importer, program)
    env = {node.name: importer.env[node] for node in calls(program) if node in importer.env}
    source = ProgramSource(program)
    return Imported(*from_relax(mod, parameters, name, env, source.place), source)


def _decomposed(program: ExportedProgram, known: Collection[str]) -> ExportedProgram:
    try:
        with quiet(), reference_mode():
            return taken_apart(program, known)
    except Exception as error:  # PyTorch's own decompositions raise many types
        raise ImportUnsupportedError(
            "PyTorch cannot take the model apart into its core operators",
            why=f"{type(error).__name__}: {first_line(error)}",
            fix="run_decompositions() on the exported program shows the whole report",
        ) from error


def _translate(importer: Importer, program: ExportedProgram) -> tvm.IRModule:
    try:
        with quiet():
            return importer.from_exported_program(program, True, False, False, None)
    except Exception as error:
        pending = [node for node in calls(program) if node not in importer.env]
        what, place = "the model", ""
        if pending:
            what, place = f"the operator {pending[0].target}", f" ({where(pending[0])})"
        raise ImportUnsupportedError(
            f"TVM cannot import {what} as it is used here{place}",
            why=f"{type(error).__name__}: {first_line(error)}",
            fix="write that part of the model in another way",
        ) from error


def _leave_none_out(program: ExportedProgram) -> None:
    """Of what it returns: a tensor is what there is to compute."""
    (returned,) = (node for node in program.graph.nodes if node.op == "output")
    specs = program.graph_signature.output_specs
    pairs = [
        pair for pair in zip(returned.args[0], specs, strict=True) if isinstance(pair[0], fx.Node)
    ]
    returned.args = (tuple(value for value, _ in pairs),)
    specs[:] = [spec for _, spec in pairs]


def _check_stateless(program: ExportedProgram) -> None:
    changed = list(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise ModelError(
            f"The model changes its buffer {changed[0]} while it runs",
            why="a compiled model keeps no state",
            fix="export it in eval mode, and without counters or running statistics",
        )
