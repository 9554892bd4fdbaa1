"""PyTorch's own test databases: ``module_db``, every module of ``torch.nn``, and ``op_db``, its
operators; fp32, in eval mode.

A case is one sample. ``inputs``: all its tensors of fp32 are inputs (of a sample without any, all
others are); ``first``: the first is, the others are constants of the network, as weights are.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.utils import _pytree as pytree

import tvm_flow
from tests.suites.cases import RIGHT, WRONG, Case, Entry, Outcome
from tests.suites.in_process import check_in_this_process
from tests.suites.judge import differs, refusal
from tests.suites.torch_names import is_run
from tvm_flow.support.errors import TvmFlowError

#: Samples of one module, of one operator, and of an operator with many ways to be used.
_OF_MODULE, _OF_OPERATOR, _OF_BROAD = 14, 4, 10
_BROAD = (
    "interpolate", "grid_sample", "functional.pad", "constant_pad_nd", "functional.conv",
    "avg_pool", "max_pool", "upsample", "functional.unfold", "functional.layer_norm",
    "functional.group_norm", "functional.batch_norm", "scaled_dot", "__getitem__", "einsum", "roll",
    "pixel", "cumsum", "topk",
)  # fmt: skip
_KINDS = (torch.float32, torch.float64, torch.int64, torch.int32, torch.int8, torch.uint8,
          torch.int16, torch.bool)  # fmt: skip


#: The start of its keys, what makes the module or function that is called, and its arguments.
_Sample = tuple[str, Callable[[], Any], Any]


@dataclass(frozen=True)
class Modules:
    """With ``trace``, networks are imported and verified, and no code is made: much quicker."""

    trace: bool = False
    name: str = "torch_modules"

    def entries(self) -> list[Entry]:
        return [
            Entry(info.name, partial(_cases, partial(_module_samples, info), self.trace))
            for info in module_db
        ]


@dataclass(frozen=True)
class Operators:
    """As :class:`Modules`."""

    trace: bool = False
    name: str = "torch_operators"

    def entries(self) -> list[Entry]:
        return [
            Entry(
                _operator_name(info), partial(_cases, partial(_operator_samples, info), self.trace)
            )
            for info in op_db
            if is_run(info.name)
        ]


def _operator_name(info: Any) -> str:
    return info.name + (f".{info.variant_test_name}" if info.variant_test_name else "")


class Sample(nn.Module):
    """A call of ``body`` of which some tensors are inputs, the others stored."""

    def __init__(self, body: Callable[..., Any], arguments: Any, inputs: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        leaves, self._structure = pytree.tree_flatten(arguments)
        self._inputs = tuple(inputs)
        self._plain = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._stored = [
            n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and n not in inputs
        ]
        for n in self._stored:
            self.register_buffer(f"argument{n}", leaves[n].detach().clone().contiguous())

    def forward(self, *tensors: Tensor) -> Any:
        leaves: list[Any] = list(self._plain)
        for n in self._stored:
            leaves[n] = getattr(self, f"argument{n}")
        for n, tensor in zip(self._inputs, tensors, strict=True):
            leaves[n] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return self.body(*args, **kwargs)


def _module_samples(info: Any) -> Iterator[_Sample]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = info.module_inputs_func(
            info, device="cpu", dtype=torch.float32, requires_grad=False, training=False
        )
    given = [
        (sample, (sample.forward_input.args, sample.forward_input.kwargs))
        for sample in samples
        if sample.forward_input is not None
    ]
    fit = [(sample, arguments) for sample, arguments in given if _usable(arguments)]
    for number, (sample, arguments) in enumerate(_spread(fit, _OF_MODULE)):
        yield f"{info.name}/{number}", partial(_made, info, sample, number), arguments


def _made(info: Any, sample: Any, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = sample.constructor_input
    module: nn.Module = info.module_cls(*made.args, **made.kwargs).float().eval()
    if any(is_lazy(parameter) for parameter in module.parameters()):
        call = sample.forward_input
        with torch.no_grad():
            module(*copy.deepcopy(call.args), **copy.deepcopy(call.kwargs))
    return module


def _operator_samples(info: Any) -> Iterator[_Sample]:
    torch.manual_seed(0)
    np.random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(info.sample_inputs("cpu", torch.float32, requires_grad=False))
    given = [((sample.input, *sample.args), sample.kwargs) for sample in samples]
    fit = [arguments for arguments in given if _usable(arguments, floats=True)]
    broad = any(word in info.name for word in _BROAD)
    for number, arguments in enumerate(_spread(fit, _OF_BROAD if broad else _OF_OPERATOR)):
        yield f"{_operator_name(info)}/{number}", lambda: info.op, arguments


def _cases(samples: Callable[[], Iterator[_Sample]], trace: bool) -> Iterator[Case]:
    for key, body, arguments in samples():
        tensors = [(n, x) for n, x in enumerate(pytree.tree_leaves(arguments)) if _is_tensor(x)]
        floats = [n for n, x in tensors if x.dtype is torch.float32]
        chosen = floats or [n for n, _ in tensors]
        yield Case(f"{key}/inputs", partial(_run, body, arguments, chosen, trace))
        if len(floats) > 1:
            yield Case(f"{key}/first", partial(_run, body, arguments, floats[:1], trace))


def _usable(arguments: Any, floats: bool = False) -> bool:
    """Whether there is a tensor to give, and none of a type that nothing is compiled for."""
    tensors = [x for x in pytree.tree_leaves(arguments) if _is_tensor(x)]
    known = all(x.dtype in _KINDS and x.layout is torch.strided for x in tensors)
    return (
        bool(tensors) and known and (not floats or any(x.dtype is torch.float32 for x in tensors))
    )


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _spread(items: list[Any], most: int) -> list[Any]:
    if len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def _run(
    body: Callable[[], Any], arguments: Any, chosen: list[int], trace: bool, folder: Path
) -> Outcome | None:
    warnings.simplefilter("ignore")
    leaves = pytree.tree_leaves(arguments)
    module = Sample(body(), arguments, chosen).eval()
    arrays = [leaves[n].detach().numpy().copy() for n in chosen]
    try:
        expected = _eager(module, arrays)
    except Exception:  # PyTorch refuses what another of its tests asks for
        return None
    if not expected or any(x.dtype.kind not in "fiub" for x in expected):
        return None
    try:
        return _outcome(module, arrays, expected, trace, folder)
    except TvmFlowError as error:
        return refusal(error)


def _outcome(
    module: nn.Module, arrays: list[Any], expected: list[Any], trace: bool, folder: Path
) -> Outcome:
    model = _model(module, arrays, folder)
    if trace:
        tvm_flow.trace(model)
        return Outcome(RIGHT)
    bundle = _compiled(model, folder)
    if problem := differs(_list(bundle(*arrays)), expected):
        return Outcome(WRONG, problem)
    return _other_values(module, bundle, arrays)


def _other_values(module: nn.Module, bundle: Any, arrays: list[Any]) -> Outcome:
    """Half of the numbers: sorted ones stay sorted, and zero zero."""
    if any(array.dtype.kind != "f" for array in arrays):
        return Outcome(RIGHT)
    others = [np.asarray(array * 0.5, array.dtype) for array in arrays]
    try:
        expected = _eager(module, others)
    except Exception:  # it checks values
        return Outcome(RIGHT)
    problem = differs(_list(bundle(*others)), expected)
    return Outcome(WRONG, f"of other values, {problem}") if problem else Outcome(RIGHT)


def _model(module: nn.Module, arrays: list[Any], folder: Path) -> tvm_flow.Model:
    np.savez(folder / "sample.npz", *arrays)
    inputs = tuple(tvm_flow.Input(array.shape, str(array.dtype)) for array in arrays)
    return tvm_flow.Model(copy.deepcopy(module), inputs=inputs, sample=folder / "sample.npz")


def _compiled(model: tvm_flow.Model, folder: Path) -> Any:
    check_in_this_process()
    report = tvm_flow.compile(
        model, output=folder / "bundle", threads=1, records=folder, runner=False
    )
    return tvm_flow.load(report.path)


def _list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple | list) else [result]


def _eager(module: nn.Module, arrays: list[Any]) -> list[Any]:
    with torch.no_grad():
        made = copy.deepcopy(module)(*(torch.tensor(array) for array in arrays))
    return [
        np.array(leaf.detach().resolve_neg().numpy())
        for leaf in pytree.tree_leaves(made)
        if isinstance(leaf, Tensor)
    ]
