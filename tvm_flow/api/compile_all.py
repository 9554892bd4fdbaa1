"""``compile-all``: one bundle per board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import targets
from targets import Board
from tvm_flow.api.boards import board_of
from tvm_flow.api.compile import CompileReport, compile
from tvm_flow.errors import ModelError, TvmFlowError, UsageError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TargetResult:
    """What became of one target: a bundle, or the error that prevented it."""

    target: str
    report: CompileReport | None
    error: TvmFlowError | None

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "bundle": self.report.to_json() if self.report else None,
            "error": str(self.error) if self.error else None,
        }


def compile_all(
    model: str | nn.Module,
    *,
    output: str | Path,
    targets: Sequence[str | Board] | None = None,
    weights: str | None = None,
    input_shape: tuple[int, ...] | None = None,
    layout: str = "NCHW",
    records: str | Path | None = None,
    labels: Sequence[str] | None = None,
    on_start: Callable[[str], None] | None = None,
) -> tuple[TargetResult, ...]:
    """Compile a network for several boards, into one bundle each.

    Parameters
    ----------
    output: directory that gets one bundle per target, named after it; what else is in it stays.
    targets: boards, by default every one that has a target file.
    model, weights, input_shape, layout, records, labels: as for :func:`tvm_flow.compile`.
    on_start: called with the name of each target before its turn.

    A target that fails does not stop the others. Raises :class:`TargetError` for an unknown
    target before anything is compiled, :class:`UsageError` for none or one that is named twice,
    and :class:`ModelError`, which would be the same for all of them.
    """
    boards = [board_of(name) for name in (target_files() if targets is None else targets)]
    names = [board.name for board in boards]
    if not boards or len(set(names)) < len(names):
        raise UsageError("No target is named, or one of them twice", fix="--targets rk3399,...")
    results = []
    for board in boards:
        if on_start:
            on_start(board.name)
        report, failure = None, None
        try:
            report = compile(
                model,
                output=Path(output) / board.name,
                target=board,
                weights=weights,
                input_shape=input_shape,
                layout=layout,
                records=records,
                labels=labels,
                runner=True,
            )
        except ModelError:
            raise
        except TvmFlowError as error:
            failure = error
        results.append(TargetResult(board.name, report, failure))
    return tuple(results)


def target_files() -> list[str]:
    """Every target that has a file, which is all but ``native``."""
    return [name for name in targets.names() if name != targets.NATIVE]
