"""TorchScript, from a file or as a module: as the plain module that it is for its inputs."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tvm_flow.frontend.inputs import Array, Asked
from tvm_flow.frontend.quiet import quiet
from tvm_flow.frontend.signature import DEFAULT_SHAPE, in_order, more_inputs
from tvm_flow.frontend.weights import first_line
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ModelError

#: Of files that may be TorchScript; those of checkpoints may be either.
SUFFIXES = (".ts", ".torchscript", ".pt", ".pth")


def is_script_file(path: Path) -> bool:
    """Whether a file holds the code of a model, as ``torch.jit.save`` writes it."""
    if path.suffix not in SUFFIXES or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Read ``path``. Raises :class:`ModelError` for a file that cannot be read."""
    try:
        with quiet():
            return torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:  # what is wrong in a damaged file decides who notices
        raise ModelError(
            f"The file {path} is not readable TorchScript",
            why=first_line(error),
            fix="write it again with torch.jit.save, or export the model with torch.export",
        ) from error


def script_inputs(module: torch.jit.ScriptModule, given: Asked) -> tuple[InputSpec, ...]:
    """The tensors that ``module`` takes: those that the user names, else one of 1x3x224x224. Raises
    :class:`ModelError` and :class:`UsageError` as for a plain module."""
    arguments = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
    required = [a.name for a in arguments if not a.has_default_value()]
    specs = given.specs
    if not specs:
        if len(required) != 1:
            raise more_inputs(required)
        specs = (InputSpec(DEFAULT_SHAPE),)
    found, _ = in_order(specs, [a.name for a in arguments], [], required)
    return found


def plain_module(module: torch.jit.ScriptModule, arrays: Sequence[Array]) -> nn.Module:
    """``module`` as one that torch.export takes, for inputs as ``arrays``, with which both are run.
    Raises :class:`ModelError` for code that has no such form, or comes out as another network."""
    # after all that can be told without it: it takes a second to import
    from torch._export.converter import TS2EPConverter  # noqa: PLC0415

    sample: tuple[Any, ...] = tuple(torch.from_numpy(array) for array in arrays)
    try:
        with quiet(), torch.no_grad():
            plain = TS2EPConverter(module, sample, None).convert().module()
            own, made = (run(*(x.clone() for x in sample)) for run in (module, plain))
            torch.testing.assert_close(made, own, rtol=1e-4, atol=1e-5, equal_nan=True)
            return plain
    except Exception as error:  # the model's own code decides what
        raise ModelError(
            "The TorchScript model has no form as an exported program",
            why=first_line(error),
            fix="pass the PyTorch module it was scripted from, or torch.export of it",
        ) from error
