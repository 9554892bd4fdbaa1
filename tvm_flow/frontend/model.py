"""``--model …`` -> a checked PyTorch module (or ONNX model) with the shape of its input."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram

from tvm_flow import models
from tvm_flow.frontend import pt2
from tvm_flow.frontend.forward import Shape, check_forward, shape_text, tensors_of
from tvm_flow.frontend.user_file import call_factory
from tvm_flow.frontend.weights import SUFFIXES, apply_weights, check_tensors, named_tensors
from tvm_flow.support.errors import ModelError, UsageError

if TYPE_CHECKING:  # PyTorch's models are loaded, and run in a comparison, without TVM
    import onnx

DEFAULT_SHAPE: Shape = (1, 3, 224, 224)


@dataclass
class LoadedModel:
    """A model that passed every check that does not need the compiler.

    ``module`` is in eval mode (``None`` for ONNX); ``program`` is there for a ``.pt2`` and
    ``onnx`` for an ``.onnx``. ``input_shape`` is that of the one fp32 input; ``name`` is short
    and safe in file names; ``spec`` is what the user wrote.
    """

    module: nn.Module | None
    program: ExportedProgram | None
    onnx: onnx.ModelProto | None
    input_shape: Shape
    name: str
    spec: str

    def run(self, x: NDArray[np.float32]) -> list[np.ndarray]:
        """Reference outputs for one input of ``input_shape``: PyTorch eager, or for ONNX the
        reference evaluator (plain numpy, slow)."""
        if self.onnx is not None:
            from tvm_flow.frontend.onnx import run  # noqa: PLC0415 - imports TVM

            return run(self.onnx, x)
        assert self.module is not None
        with torch.no_grad():
            return [t.numpy() for t in tensors_of(self.module(torch.from_numpy(x)))]


def load(
    spec: str, *, weights: str | None = None, input_shape: Shape | str | None = None
) -> LoadedModel:
    """Load and check a model.

    Parameters
    ----------
    spec: a name of the zoo, ``path/to/file.py:factory``, ``model.pt2`` or ``model.onnx``.
    weights: checkpoint for a zoo name or a factory, see :func:`apply_weights`.
    input_shape: of the one input, as integers or ``"1x3x224x224"``. Defaults to what the model
        says (``example_input_shape`` of a factory's module, the program, the ONNX graph), else
        to 1x3x224x224.

    Raises :class:`UsageError` for arguments without meaning and :class:`ModelError` for a model
    that cannot be used; both say what to do.
    """
    shape = parse_shape(input_shape) if isinstance(input_shape, str) else input_shape
    path, colon, factory = spec.rpartition(":")
    suffix = Path(spec).suffix
    if suffix in (".pt2", ".onnx"):
        if weights is not None:
            raise UsageError(
                f"--weights cannot be used with {spec}",
                why=f"a {suffix} file carries its weights",
                fix="leave --weights away",
            )
        return _load_pt2(spec, shape) if suffix == ".pt2" else _load_onnx(spec, shape)
    if colon and path.endswith(".py"):
        module = call_factory(Path(path), factory)
    elif spec in models.NAMES:
        factory, module = spec, models.create(spec)
    else:
        raise _unknown(spec)
    return from_module(module, factory, spec=spec, weights=weights, input_shape=shape)


def parse_shape(text: str) -> Shape:
    """``"1x3x224x224"`` -> (1, 3, 224, 224). Raises :class:`UsageError` for anything else."""
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text.strip()):
        raise UsageError(
            f"{text!r} is not a shape",
            why="positive integers joined by x were expected",
            fix="write it like --input 1x3x224x224",
        )
    return tuple(int(size) for size in text.strip().split("x"))


def _unknown(spec: str) -> Exception:
    """The error for a spec that is neither a file this loads nor in the zoo."""
    path = Path(spec)
    if path.suffix == ".py":
        return UsageError(
            f"{spec} does not say which model of the file to load",
            fix=f"pass --model {spec}:factory, where factory() returns the nn.Module",
        )
    if path.suffix in SUFFIXES:
        return UsageError(
            f"{spec} holds weights and no model",
            fix=f"name the model and pass the file as --weights {spec}",
        )
    if "/" in spec or ":" in spec or path.suffix or path.exists():
        what = "cannot be loaded as a model" if path.exists() else "does not exist"
        return ModelError(
            f"The file {spec} {what}",
            fix="pass a zoo name, file.py:factory, model.pt2 or model.onnx",
        )
    try:
        models.create(spec)
    except UsageError as error:
        return error
    raise AssertionError(f"{spec} is in the zoo")


def from_module(
    module: nn.Module,
    name: str,
    *,
    spec: str = "",
    weights: str | None = None,
    input_shape: Shape | None = None,
) -> LoadedModel:
    """Check a module, switching it to eval mode; ``weights`` are loaded into it first.

    The input shape is ``input_shape``, else the module's own ``example_input_shape``, else
    1x3x224x224. Raises :class:`UsageError` and :class:`ModelError` as :func:`load` does.
    """
    if weights is not None:
        apply_weights(module, weights)
    module.eval()
    check_tensors(named_tensors(module))
    shape = input_shape or tuple(getattr(module, "example_input_shape", DEFAULT_SHAPE))
    _check_shape(shape)
    check_forward(module, shape)
    return LoadedModel(module, None, None, shape, _short(name), spec or name)


def _load_pt2(spec: str, shape: Shape | None) -> LoadedModel:
    program = pt2.load_program(Path(spec))
    own = pt2.input_shape(program)
    _check_fixed(spec, own, shape)
    module = program.module()
    check_tensors(named_tensors(module))
    check_forward(module, own)
    return LoadedModel(module, program, None, own, _short(Path(spec).stem), spec)


def _load_onnx(spec: str, shape: Shape | None) -> LoadedModel:
    from tvm_flow.frontend import onnx as onnx_frontend  # noqa: PLC0415 - imports TVM

    model = onnx_frontend.load_onnx(Path(spec), shape)
    own = onnx_frontend.input_shape(model)
    _check_fixed(spec, own, shape)
    return LoadedModel(None, None, model, own, _short(Path(spec).stem), spec)


def _check_shape(shape: Shape) -> None:
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise UsageError(
            f"{shape} is not a shape",
            why="positive integers were expected",
            fix="pass a tuple such as (1, 3, 224, 224)",
        )


def _check_fixed(spec: str, own: Shape, asked: Shape | None) -> None:
    if asked is not None and asked != own:
        raise ModelError(
            f"{spec} cannot take an input of {shape_text(asked)}",
            why=f"it was exported for {shape_text(own)}",
            fix=f"leave --input away, or export the model again for {shape_text(asked)}",
        )


def _short(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
