"""``model.pt2``: read an exported program and check that it can be compiled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, TensorArgument
from torch.utils import _pytree as pytree

from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.weights import first_line
from tvm_flow.ir.inputs import INPUT_TYPES, InputSpec
from tvm_flow.support.errors import ModelError

# Position of the flag that says "training" among the arguments.
_TRAINING = {torch.ops.aten.batch_norm.default: 5, torch.ops.aten.dropout.default: 2}


def load_program(path: Path) -> ExportedProgram:
    """Read ``path``. Raises :class:`ModelError` for a file that is not there or not readable."""
    if not path.is_file():
        raise ModelError(f"The file {path} does not exist", fix="check the path after --model")
    if not zipfile.is_zipfile(path):
        raise _corrupt(path, "it is not a zip archive, or it was cut off")
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:
        # A damaged archive surfaces as whatever its first wrong byte leads to.
        raise _corrupt(path, f"{type(error).__name__}: {first_line(error)}") from error


def inputs(program: ExportedProgram) -> tuple[InputSpec, ...]:
    """The tensors it takes, in its order.

    Raises :class:`ModelError` for a program without inputs, inputs of other types, dynamic sizes,
    and a program exported in training mode.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found = [_input(name, values.get(name)) for name in _tensors(program)]
    if not found:
        raise ModelError(
            "The program takes no tensor",
            why="a network without input is a constant",
            fix="export a module that takes a tensor",
        )
    _check_eval(program)
    return tuple(found)


def _tensors(program: ExportedProgram) -> list[str]:
    return [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]


def _input(name: str, value: object) -> InputSpec:
    dtype = str(value.dtype if isinstance(value, torch.Tensor) else type(value).__name__)
    if not isinstance(value, torch.Tensor) or dtype.removeprefix("torch.") not in INPUT_TYPES:
        raise ModelError(
            f"The input {name} of the program is {dtype}",
            why=f"inputs are {', '.join(INPUT_TYPES)}",
            fix="convert to the other type inside the model and export again",
        )
    if not all(isinstance(size, int) for size in value.shape):
        raise ModelError(
            "The program was exported with dynamic shapes",
            why=f"its input {name} is {'x'.join(map(str, value.shape))}",
            fix="export it again without dynamic_shapes",
        )
    if not value.numel():
        raise ModelError(
            f"The input {name} of the program has no elements",
            why=f"its shape is {tuple(value.shape)}",
            fix="export it again for an input that has some",
        )
    return InputSpec(tuple(value.shape), dtype.removeprefix("torch."), name)


def plain_module(program: ExportedProgram) -> nn.Module:
    """A module that takes the tensors of :func:`inputs` one after the other, however the program
    wants them packed."""
    module, spec = program.module(), program.call_spec.in_spec
    if spec is None:
        return module
    arguments, keywords = pytree.tree_unflatten([*range(spec.num_leaves)], spec)
    count = len(_tensors(program))
    if not keywords and tuple(arguments) == tuple(range(count)):
        return module
    return Packed(module, program, spec)


class Packed(nn.Module):
    """A program that takes tensors in dicts, lists or by name, as one that takes them by place."""

    def __init__(self, module: nn.Module, program: ExportedProgram, spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.module, self.spec = module, spec
        user = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
        #: Values that the program was exported for; ``...`` where a tensor comes.
        self.leaves = [getattr(s.arg, "value", ...) for s in user]

    def forward(self, *tensors: torch.Tensor) -> object:
        rest = iter(tensors)
        leaves = [next(rest) if leaf is ... else leaf for leaf in self.leaves]
        arguments, keywords = pytree.tree_unflatten(leaves, self.spec)
        return self.module(*arguments, **keywords)


def _check_eval(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        flag = _TRAINING.get(node.target)
        # A batch norm without running statistics (argument 3) uses those of the batch in eval too.
        untracked = node.target is torch.ops.aten.batch_norm.default and node.args[3] is None
        if flag is not None and node.args[flag] is True and not untracked:
            raise ModelError(
                "The program was exported in training mode",
                why=f"{node.name} is a {node.target} with training on",
                fix="call .eval() on the model and export it again",
            )


def _corrupt(path: Path, why: str) -> ModelError:
    return ModelError(
        f"The file {path} is not a readable exported program",
        why=why,
        fix="write it with torch.export.save(torch.export.export(model, (x,)), path)",
    )
