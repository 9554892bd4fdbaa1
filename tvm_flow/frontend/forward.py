"""Run a module once and turn whatever goes wrong into one line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import SequenceKey, tree_flatten_with_path

from tvm_flow.frontend.inputs import BOUNDS, Array, sample_of
from tvm_flow.frontend.weights import article, first_line
from tvm_flow.ir.inputs import INPUT_TYPES, InputSpec
from tvm_flow.support.errors import ModelError, TvmFlowError

_OUTPUT_TYPES = {getattr(torch, name) for name in INPUT_TYPES}


@contextmanager
def reference_mode() -> Iterator[None]:
    """Where references are computed and models exported: without gradients, whatever the caller
    or a factory has switched. Tensors of inference mode could not be exported."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def call(module: nn.Module, tensors: Sequence[Tensor], keywords: Sequence[str] = ()) -> Any:
    """Run ``module``; the last inputs are passed under their names, ``keywords``."""
    count = len(tensors) - len(keywords)
    return module(*tensors[:count], **dict(zip(keywords, tensors[count:], strict=True)))


class ByPlace(nn.Module):
    """A module that takes all its inputs by their places."""

    def __init__(self, module: nn.Module, keywords: Sequence[str]) -> None:
        super().__init__()
        self.module, self.keywords = module, tuple(keywords)

    def forward(self, *tensors: Tensor) -> Any:
        return call(self.module, tensors, self.keywords)


def outputs_of(
    module: nn.Module, arrays: Sequence[Array], keywords: Sequence[str] = ()
) -> list[Array]:
    """All outputs, in the order of :func:`named_outputs`. ``arrays`` stay as they are, also where
    the module changes its inputs in place."""
    with reference_mode():
        result = call(module, [torch.tensor(array) for array in arrays], keywords)
        return [part.detach().cpu().numpy().copy() for _, part in named_outputs(result)]


def check_forward(
    module: nn.Module,
    specs: Sequence[InputSpec],
    given: Mapping[str, Array] | None = None,
    keywords: Sequence[str] = (),
) -> tuple[tuple[Array, ...], tuple[str, ...]]:
    """``module`` takes tensors as ``specs`` say and returns tensors, the same ones every time.

    Returns a sample of the inputs, of ``given`` arrays as far as there are any, and the names of
    the outputs. Raises :class:`ModelError` for an exception in the forward pass (with the path of
    the submodule it happened in), outputs that are not tensors, and random ones;
    :class:`UsageError` for a sample that does not fit.
    """
    entered: list[str] = []
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    integers = any(np.dtype(spec.dtype).kind in "iu" for spec in specs)
    for bound in BOUNDS if integers and not given else BOUNDS[:1]:
        sample = sample_of(specs, given, bound)
        entered.clear()
        with _recording(module, entered), reference_mode():
            try:
                first = named_outputs(call(module, _tensors(sample), keywords))
                second = named_outputs(call(module, _tensors(sample), keywords))
                break
            except (Exception, SystemExit) as error:
                if isinstance(error, TvmFlowError):
                    raise
                failed = _failed(module, specs, entered, error)
    else:
        raise failed
    kept = all(torch.equal(buffers[name], now) for name, now in module.named_buffers())
    if kept:  # a network with state is refused for that, when it is exported
        _require_repeatable(first, second)
    return sample, output_names([name for name, _ in first])


def _tensors(sample: Sequence[Array]) -> list[Tensor]:
    return [torch.tensor(array) for array in sample]  # a copy: the module may write to it


def _failed(
    module: nn.Module, specs: Sequence[InputSpec], entered: list[str], error: BaseException
) -> ModelError:
    taken = " and ".join(str(replace(spec, name="")) for spec in specs)
    made = ModelError(
        f"The model fails on {'an input' if len(specs) == 1 else 'inputs'} of {taken}",
        why=f"{_place(module, entered)}{type(error).__name__}: {first_line(error)}",
        fix="pass the shape it was made for with --input, such as --input 1x3x224x224, or inputs "
        "of its own domain with --sample FILE",
    )
    made.__cause__ = error
    return made


def _require_repeatable(
    first: Sequence[tuple[str, Tensor]], second: Sequence[tuple[str, Tensor]]
) -> None:
    """The order of sums may differ between two runs, so a small difference is no sign."""
    for number, ((name, a), (_, b)) in enumerate(zip(first, second, strict=True)):
        x, y = (t.detach().cpu().numpy().astype(np.float64) for t in (a, b))
        largest = float(np.max(np.abs(x), where=np.isfinite(x), initial=0))
        close = x.shape == y.shape and np.allclose(
            x, y, rtol=0, atol=1e-3 * largest, equal_nan=True
        )
        if not close:
            raise ModelError(
                f"The model is random: two runs on one input differ in output {name or number}",
                why="it draws random numbers in eval mode too, as functional dropout does unless "
                "it is told training=self.training",
                fix="turn that off in eval mode",
            )


def named_outputs(result: Any) -> list[tuple[str, Tensor]]:
    """The tensors a model returns, with their names: a tensor, or any nesting of tuples, lists,
    dicts and named tuples, in which ``None`` is left out. A name is made of keys and fields; it is
    empty where there is none.

    Raises :class:`ModelError` for anything else.
    """
    found = []
    for path, leaf in tree_flatten_with_path(result)[0]:
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor):
            inside = " inside what it returns" if path else ""
            raise _unusable_output(f"{article(type(leaf).__name__)}{inside}")
        if leaf.dtype not in _OUTPUT_TYPES or leaf.layout is not torch.strided:
            raise _unusable_output(f"a tensor of {leaf.dtype}, {leaf.layout}")
        named = any(not isinstance(key, SequenceKey) for key in path)
        found.append((".".join(map(_key, path)) if named else "", leaf))
    if not found:
        what = "an empty tuple" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise ModelError(f"The model returns {what}", fix="return at least one tensor")
    return found


def output_names(names: Sequence[str]) -> tuple[str, ...]:
    """Each once, ``output``, ``output1`` and so on where there is none."""
    made: list[str] = []
    for number, name in enumerate(names):
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", name) or f"output{number or ''}"
        made.append(plain if plain not in made else f"{plain}_{number}")
    return tuple(made)


def _key(key: Any) -> str:
    for field in ("key", "name", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)


def _unusable_output(what: str) -> ModelError:
    return ModelError(
        f"The model returns {what}",
        why="only tensors of numbers, alone or in tuples, lists and dicts, can be compiled",
        fix="wrap the model in a module that returns the tensors you need",
    )


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
