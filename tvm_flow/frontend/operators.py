"""Which operators of an exported program the importer knows, and where in the model they are."""

from __future__ import annotations

import re
from collections.abc import Collection
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
    """Raise :class:`ImportUnsupportedError` for the first operator that is unknown or random.

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
        if _is_random(node):
            raise ImportUnsupportedError(
                f"The operator {node.target} draws random numbers",
                why=f"it is used {where(node)}",
                fix="leave it out, or turn it off in eval mode",
            )


def _is_random(node: fx.Node) -> bool:
    """Dropout that is switched off is not."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    return not (node.target is torch.ops.aten.native_dropout.default and node.args[2] is False)


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
