"""``model.pt2``: read an exported program and check that it can be compiled."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from tvm_flow.frontend.forward import several_inputs
from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.weights import ONE_TENSOR, TORCH_FLOAT32, first_line
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


def input_shape(program: ExportedProgram) -> tuple[int, ...]:
    """Shape of the one input.

    Raises :class:`ModelError` for several inputs, one that is not fp32, dynamic sizes, and a
    program exported in training mode.
    """
    names = [s.arg.name for s in program.graph_signature.input_specs
             if s.kind is InputKind.USER_INPUT]  # fmt: skip
    if len(names) != 1:
        raise several_inputs(names)
    node = next(n for n in program.graph.nodes if n.name == names[0])
    value = node.meta["val"]
    if not isinstance(value, torch.Tensor) or value.dtype != TORCH_FLOAT32:
        kind = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ModelError(
            f"The input {names[0]} of the program is {kind}",
            why=ONE_TENSOR,
            fix="convert to the other type inside the model and export again",
        )
    if not all(isinstance(size, int) for size in value.shape):
        raise ModelError(
            "The program was exported with dynamic shapes",
            why=f"its input {names[0]} is {'x'.join(map(str, value.shape))}",
            fix="export it again without dynamic_shapes",
        )
    _check_eval(program)
    return tuple(value.shape)


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
