"""Which tensors the forward of a module takes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tvm_flow.frontend.inputs import Asked, placed, typed
from tvm_flow.ir.inputs import InputSpec
from tvm_flow.support.errors import ModelError

DEFAULT_SHAPE = (1, 3, 224, 224)
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def module_inputs(module: nn.Module, given: Asked) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """The inputs of ``module`` in the order of its forward, and the names of those, the last, that
    it takes by their names.

    They are those that the user names, else the module's ``example_inputs`` (a tuple of tensors)
    or ``example_input_shape``, else one of 1x3x224x224. Raises :class:`ModelError` where the
    module takes others, and :class:`UsageError` for what the user names in vain.
    """
    parameters = _parameters(module)
    specs = given.specs or _own(module)
    if not specs:
        specs = (InputSpec(DEFAULT_SHAPE),)
        if len(_required(parameters)) > 1:
            raise more_inputs(_required(parameters))
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    names = [p.name for p in parameters if p.kind in _BY_PLACE]
    if variadic:
        names += [f"input{n}" for n in range(len(names), len(specs))]
    by_name = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    if not names and not by_name:
        raise more_inputs([])
    return in_order(specs, names, by_name, _required(parameters))


def in_order(
    specs: Sequence[InputSpec], names: list[str], by_name: list[str], required: list[str]
) -> tuple[tuple[InputSpec, ...], tuple[str, ...]]:
    """The inputs that ``specs`` are in the order of ``names`` and, by name, ``by_name``; the names
    of those that are passed by name. Raises :class:`UsageError`, and :class:`ModelError` where a
    ``required`` one is missing."""
    every = [*names, *by_name]
    chosen = dict(zip(placed(specs, every, "The model"), specs, strict=True))
    found = [replace(typed(chosen[n]), name=every[n]) for n in sorted(chosen)]
    taken = {spec.name for spec in found}
    if set(required) - taken:
        raise more_inputs(required)
    prefix = 0  # as many as can be passed by place
    while prefix < len(found) and found[prefix].name == every[prefix] and prefix < len(names):
        prefix += 1
    return tuple(found), tuple(spec.name for spec in found[prefix:])


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # written in C: what it takes shows when it is called
        return [inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)]


def _required(parameters: Sequence[inspect.Parameter]) -> list[str]:
    kinds = (*_BY_PLACE, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.default is p.empty and p.kind in kinds]


def examples(module: nn.Module) -> list[Tensor]:
    """The module's ``example_inputs``. Raises :class:`ModelError` where they are no tensors."""
    found = getattr(module, "example_inputs", None)
    if found is None:
        return []
    found = [found] if isinstance(found, Tensor) else found
    if not isinstance(found, tuple | list) or not all(isinstance(x, Tensor) for x in found):
        raise _bad_attribute("example_inputs", "a tuple of tensors")
    return list(found)


def _own(module: nn.Module) -> tuple[InputSpec, ...]:
    """What the module says itself."""
    found = [
        InputSpec(tuple(item.shape), str(item.dtype).removeprefix("torch."))
        for item in examples(module)
    ]
    shape = getattr(module, "example_input_shape", None)
    return tuple(found) if found or shape is None else (InputSpec(_sizes(shape)),)


def _sizes(shape: Any) -> tuple[int, ...]:
    if isinstance(shape, tuple | list) and all(
        isinstance(size, int) and size > 0 for size in shape
    ):
        return tuple(shape)
    raise _bad_attribute("example_input_shape", "a tuple of positive integers")


def _bad_attribute(name: str, wanted: str) -> ModelError:
    return ModelError(
        f"The model's {name} is not {wanted}", fix="correct it, or delete it and pass --input"
    )


def more_inputs(names: Sequence[str]) -> ModelError:
    """The error for inputs called ``names`` of which nothing is known."""
    shapes = " ".join(f"--input {name}=1x3x224x224" for name in names)
    return ModelError(
        f"The model takes {len(names)} inputs" + (f" ({', '.join(names)})" if names else ""),
        why="their shapes are not known" if names else "a network without input is a constant",
        fix=f"pass them, such as {shapes}; :int64 after a shape is a type"
        if names
        else "wrap the model in a module that takes a tensor",
    )
