"""Checkpoints into modules, and the checks every tensor of a model has to pass."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.nn.parameter import is_lazy

from tvm_flow.schedules.contract.dtypes import FLOAT32
from tvm_flow.support.errors import ModelError

TORCH_FLOAT32: torch.dtype = getattr(torch, FLOAT32)
ONLY_FLOAT32 = f"only {FLOAT32} models can be compiled"
SUFFIXES = (".safetensors", ".pth", ".pt")
_NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts keep the tensors
_SHOWN = 3


def apply_weights(module: nn.Module, path: str) -> None:
    """Copy the tensors of ``path`` (one of :data:`SUFFIXES`) into ``module``.

    A checkpoint that keeps its tensors under ``state_dict`` or ``model``, or that was saved from
    ``DataParallel``, is unwrapped. Half and double precision become fp32.

    Raises :class:`ModelError` for a file that cannot be read safely, and for tensors that are
    missing, not in the model, or of another shape.
    """
    state = _unwrap(_read(Path(path)), path)
    own = module.state_dict()
    wrong = [
        f"{name} is {_size(value)} and not {_size(own[name])}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    if wrong:
        raise _mismatch(path, "has tensors of another shape", wrong)
    integer = [
        f"{name} is {value.dtype}"
        for name, value in state.items()
        if name in own and own[name].is_floating_point() and not value.is_floating_point()
    ]
    if integer:
        raise _mismatch(path, "has tensors that are not floating point", integer)
    try:
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _mismatch(path, "does not load", [first_line(error)]) from error
    if result.missing_keys:
        raise _mismatch(path, "lacks tensors of the model", result.missing_keys)
    if result.unexpected_keys:
        raise _mismatch(path, "has tensors the model does not know", result.unexpected_keys)


def check_tensors(tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Parameters and buffers must have values and be fp32 (or integer buffers), and parameters
    finite.

    Raises :class:`ModelError` naming the first tensor that is not.
    """
    for name, value in tensors:
        if is_lazy(value) or value.is_meta:
            raise ModelError(
                f"The tensor {name} of the model has no values",
                why="it is on the meta device or was never initialised",
                fix="load weights, or run the model once on an example, in the factory",
            )
        if value.is_complex() or (value.is_floating_point() and value.dtype != TORCH_FLOAT32):
            raise ModelError(
                f"The tensor {name} of the model is {value.dtype}",
                why=ONLY_FLOAT32,
                fix="call .float() on the model",
            )
        if isinstance(value, nn.Parameter) and not value.is_floating_point():
            raise ModelError(
                f"The parameter {name} of the model is {value.dtype}",
                why="quantised weights cannot be compiled",
                fix=f"use the {FLOAT32} model",
            )
        # a mask of attention is a buffer with infinities, a table of codes may have NaN
        finite = torch.isfinite(value) if isinstance(value, nn.Parameter) else None
        if finite is not None and not bool(finite.all()):
            raise not_finite(name, int((~finite).sum()), value.numel())


def in_single(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A module of half precision in fp32, in which everything is computed here, and what to tell of
    that; any other as it is."""
    halves = {t.dtype for _, t in named_tensors(module) if t.dtype in (torch.half, torch.bfloat16)}
    if not halves:
        return module, ()
    names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in halves))
    return copy.deepcopy(module).float(), (f"weights of {names} are computed in {FLOAT32}",)


def not_finite(name: str, count: int, total: int) -> ModelError:
    """The error for a tensor with NaN or infinity in ``count`` of its ``total`` elements."""
    return ModelError(
        f"The tensor {name} of the model has NaN or infinity in {count} of {total} elements",
        why="training diverged or the file is damaged",
        fix="use another checkpoint (--weights)",
    )


def first_line(error: BaseException) -> str:
    """The first line of a message that says something, without trailing punctuation."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(" :.") if lines else type(error).__name__


def article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def named_tensors(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Parameters, then buffers (also those that are not saved), by dotted name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def _read(path: Path) -> Any:
    if path.suffix not in SUFFIXES:
        raise ModelError(
            f"The weights {path} have an unknown format",
            fix=f"pass a file that ends in {', '.join(SUFFIXES)}",
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(
            f"The weights {path} do not exist", fix="check the path after --weights"
        ) from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"The weights {path} were refused",
            why="the file is not a plain PyTorch checkpoint: it holds Python objects that could "
            "run code, or it is damaged",
            fix="save only the tensors with torch.save(model.state_dict(), path)",
        ) from error
    except Exception as error:  # what is wrong in a damaged file decides who notices
        raise ModelError(
            f"The weights {path} cannot be read",
            why=first_line(error),
            fix="download or save the file again",
        ) from error


def _unwrap(loaded: Any, path: str) -> dict[str, Tensor]:
    for key in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    state = dict(loaded) if isinstance(loaded, Mapping) else {}
    named = all(isinstance(name, str) for name in state)
    if not state or not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"The weights {path} are not a state dict",
            why="tensors by parameter name were expected",
            fix="save with torch.save(model.state_dict(), path)",
        )
    consume_prefix_in_state_dict_if_present(state, "module.")
    return state


def _mismatch(path: str, what: str, names: list[str]) -> ModelError:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ModelError(
        f"The file {path} {what}",
        why=", ".join(names[:_SHOWN]) + more,
        fix="pass weights that belong to this --model",
    )


def _size(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a scalar"
