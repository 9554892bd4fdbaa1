"""``compile-all``: one bundle per board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_flow import targets
from tvm_flow.api.boards import board_of, layout_of, store_of
from tvm_flow.api.compile_report import CompileReport
from tvm_flow.api.picture import Picture, recipe_for
from tvm_flow.api.values import ModelLike, TargetLike, target_value
from tvm_flow.support.errors import ModelError, TvmFlowError, UsageError


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
    model: ModelLike,
    *,
    output: str | Path,
    targets: Sequence[TargetLike] | None = None,
    layout: str = "NCHW",
    records: str | Path | None = None,
    labels: Sequence[str] | None = None,
    picture: Picture | None = None,
    on_start: Callable[[str], None] | None = None,
) -> tuple[TargetResult, ...]:
    """Compile a network for several boards, into one bundle each.

    Parameters
    ----------
    output: directory that gets one bundle per target, named after it; what else is in it stays.
    targets: boards, by default every one that has a target file.
    model, layout, records, labels, picture: as for :func:`tvm_flow.compile`.
    on_start: called with the name of each target before its turn.

    A target that fails does not stop the others. What would be the same for all of them is raised
    before anything is compiled: :class:`TargetError` for an unknown target, :class:`UsageError`
    for none, one that is named twice, an ``output`` that cannot hold them, or a ``picture`` that
    does not fit the network, and what loading the model raises, which is done once.
    """
    named: Sequence[TargetLike] = target_files() if targets is None else targets
    boards, devices = [board_of(one) for one in named], [target_value(one).device for one in named]
    _require_distinct([board.name for board in boards])
    layout = layout_of(layout)
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a directory", fix="choose another --output")
    # TVM and torch take seconds to import: what can be refused without them is refused by now
    from tvm_flow.api import network_to_bundle  # noqa: PLC0415
    from tvm_flow.api.networks import load_model  # noqa: PLC0415
    from tvm_flow.backends import backend_of  # noqa: PLC0415
    from tvm_flow.bundle.write import BundleOptions  # noqa: PLC0415

    network_to_bundle.require_no_bundle(folder)
    loaded = load_model(model)
    options = BundleOptions(labels=labels, picture=recipe_for(loaded.picture_shape, picture))
    results = []
    for board, device in zip(boards, devices, strict=True):
        if on_start:
            on_start(board.name)
        report, failure = None, None
        try:
            report = network_to_bundle.build(
                loaded, folder / board.name, board, store_of(board, records, device),
                backend=backend_of(device), layout=layout, options=options,
            )  # fmt: skip
        except ModelError:  # of the export: the same for all
            raise
        except TvmFlowError as error:
            failure = error
        results.append(TargetResult(board.name, report, failure))
    return tuple(results)


def _require_distinct(names: Sequence[str]) -> None:
    if not names:
        raise UsageError("No target is named", fix="--targets rk3399,jetson-nano")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(
            f"The target {twice[0]} is named twice",
            why="each gets the bundle of its name",
            fix="name it once in --targets",
        )


def target_files() -> list[str]:
    """Every target that has a file, which is all but ``native``."""
    return [name for name in targets.names() if name != targets.NATIVE]
