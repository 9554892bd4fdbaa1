"""Run a module once and turn whatever goes wrong into one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tvm_flow.frontend.weights import ONE_TENSOR, first_line
from tvm_flow.support.errors import ModelError

Shape = tuple[int, ...]


def shape_text(shape: Shape) -> str:
    """``1x3x224x224``."""
    return "x".join(map(str, shape))


def check_forward(module: nn.Module, shape: Shape) -> None:
    """``module`` takes one fp32 tensor of ``shape`` and returns tensors.

    Raises :class:`ModelError` for another number of inputs, for an exception in the forward pass
    (with the path of the submodule it happened in) and for outputs that are not tensors.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            "The model is a TorchScript module",
            why="torch.export takes plain PyTorch modules",
            fix="pass the module it was scripted from",
        )
    _check_signature(module)
    entered: list[str] = []
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with _recording(module, entered), torch.no_grad():
        try:
            result = module(example)
        except Exception as error:
            raise ModelError(
                f"The model fails on an input of {shape_text(shape)}",
                why=f"{_place(module, entered)}{type(error).__name__}: {first_line(error)}",
                fix="pass the shape it was made for with --input, such as --input 1x3x224x224",
            ) from error
    tensors_of(result)


def tensors_of(result: Any) -> list[Tensor]:
    """The outputs of a model: one tensor, or a flat tuple or list of tensors.

    Raises :class:`ModelError` for anything else.
    """
    parts = list(result) if isinstance(result, tuple | list) else [result]
    for part in parts:
        if not isinstance(part, Tensor):
            inside = " inside a tuple" if isinstance(result, tuple | list) else ""
            raise ModelError(
                f"The model returns a {type(part).__name__}{inside}",
                why="only a tensor or a flat tuple of tensors can be compiled",
                fix="wrap the model in a module that returns the tensors you need",
            )
    if not parts:
        raise ModelError("The model returns an empty tuple", fix="return at least one tensor")
    return parts


def several_inputs(names: list[str]) -> ModelError:
    """The error for a model that takes ``names`` instead of one tensor."""
    return ModelError(
        f"The model takes {len(names)} inputs" + (f" ({', '.join(names)})" if names else ""),
        why=ONE_TENSOR,
        fix="wrap the model in a module that takes one tensor",
    )


def _check_signature(module: nn.Module) -> None:
    parameters = inspect.signature(module.forward).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = [p.name for p in parameters if p.kind in positional]
    required = [p.name for p in parameters if p.default is p.empty and p.kind in positional]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > 1 or not (accepted or variadic):
        raise several_inputs(required)


@contextmanager
def _recording(module: nn.Module, entered: list[str]) -> Iterator[None]:
    """Keep the dotted paths of the submodules being executed in ``entered``, innermost last."""
    handles = []
    for name, child in module.named_modules():
        if name and not isinstance(child, torch.jit.ScriptModule):  # those take no hooks
            handles.append(child.register_forward_pre_hook(partial(_enter, entered, name)))
            handles.append(child.register_forward_hook(partial(_leave, entered)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _enter(entered: list[str], name: str, _module: nn.Module, _args: Any) -> None:
    entered.append(name)


def _leave(entered: list[str], _module: nn.Module, _args: Any, _output: Any) -> None:
    entered.pop()


def _place(module: nn.Module, entered: list[str]) -> str:
    if not entered:
        return ""
    return f"in {entered[-1]} ({type(module.get_submodule(entered[-1])).__name__}): "
