"""Which operators of an exported program TVM's importer knows, and which it gets wrong.

The importer (TVM 0.27) silently drops some arguments. Such a use would compile to a network that
computes something else, so it is refused here; each entry was found by comparing with PyTorch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import fx
from torch.export import ExportedProgram

from tvm_flow.support.errors import ImportUnsupportedError

_TORCH = str(Path(torch.__file__).parent)
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def calls(program: ExportedProgram) -> list[fx.Node]:
    """The operators of the program, in order."""
    return [node for node in program.graph.nodes if node.op == "call_function"]


def check_operators(program: ExportedProgram, known: Collection[str]) -> None:
    """Raise :class:`ImportUnsupportedError` for the first operator TVM cannot import faithfully.

    ``known`` are the names in the importer's conversion map, such as ``"convolution.default"``.
    """
    for node in calls(program):
        name = getattr(node.target, "__name__", str(node.target))
        if name not in known:
            raise ImportUnsupportedError(
                f"TVM cannot import the operator {node.target}",
                why=f"it is used {where(node)}",
                fix="replace it in the model by operators that TVM knows",
            )
        wrong = _WRONG[name](node) if name in _WRONG else ""
        if wrong:
            raise ImportUnsupportedError(
                f"TVM cannot import the operator {node.target} with {wrong}",
                why=f"its importer would compute something else; it is used {where(node)}",
                fix="write that part of the model in another way",
            )


def where(node: fx.Node) -> str:
    """``in features.3 (LayerNorm) at model.py:12``: as much of it as the exporter kept."""
    parts = []
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if stack:
        path, kind = stack[-1]
        kind = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
        parts.append(f"in {path} ({kind})" if path else f"in the forward of {kind}")
    place = user_line(node.meta.get("stack_trace") or "")
    if place:
        parts.append(f"at {place}")
    return " ".join(parts) or f"as {node.name}"


def user_line(trace: str) -> str:
    """``file:line`` of the innermost frame outside PyTorch in a traceback, else ``""``."""
    own = [frame for frame in _FRAME.findall(trace) if not frame[0].startswith(_TORCH)]
    return ":".join(own[-1]) if own else ""


def _alpha(node: fx.Node) -> str:
    alpha = node.kwargs.get("alpha", 1)
    return f"alpha={alpha}" if alpha != 1 else ""


def _divisor(node: fx.Node) -> str:
    divisor = node.args[6] if len(node.args) > 6 else None
    return f"divisor_override={divisor}" if divisor is not None else ""


def _scaled_elu(node: fx.Node) -> str:
    """SELU arrives as an ELU whose result is scaled."""
    scales = tuple(node.args[2:4])
    return f"scale, input_scale = {scales}" if any(scale != 1 for scale in scales) else ""


def _antialias(_node: fx.Node) -> str:
    return "antialias=True"


def _nearest(node: fx.Node) -> str:
    """Off by a pixel unless every pixel is repeated a whole number of times."""
    before, after = _sizes(node)
    uneven = any(new % old for old, new in zip(before, after, strict=True))
    return f"sizes {before} -> {after}, not a multiple" if uneven else ""


def _linear(node: fx.Node) -> str:
    """PyTorch samples at 1 / scale_factor, the importer at the ratio of the rounded sizes."""
    factors = node.args[3] if len(node.args) > 3 else None
    before, after = _sizes(node)
    if not isinstance(factors, list | tuple):
        return ""
    exact = [size * float(str(factor)) for size, factor in zip(before, factors, strict=True)]
    if all(abs(size - new) < 1e-6 for size, new in zip(exact, after, strict=True)):
        return ""
    return f"sizes {before} -> {after} that are not scale_factor={list(factors)} times the input"


def _sizes(node: fx.Node) -> tuple[list[int], list[int]]:
    """Height and width of the first argument and of the result."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return list(source.meta["val"].shape[2:]), list(node.meta["val"].shape[2:])


_WRONG: dict[str, Callable[[fx.Node], str]] = {
    "add.Tensor": _alpha,
    "sub.Tensor": _alpha,
    "avg_pool2d.default": _divisor,
    "elu.default": _scaled_elu,
    "_upsample_bilinear2d_aa.default": _antialias,
    "upsample_nearest2d.vec": _nearest,
    "upsample_bilinear2d.vec": _linear,
}
