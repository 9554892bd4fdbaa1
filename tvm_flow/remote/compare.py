"""A bundle against PyTorch eager, both on the board."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm_flow.remote.bench import require_board
from tvm_flow.remote.board_bundle import board_library
from tvm_flow.remote.board_pool import BoardPool, Patience
from tvm_flow.remote.client import GrantedBoard, boards_of, foreign_boards
from tvm_flow.remote.health import advice
from tvm_flow.remote.protocol import BOARD, REFUSED, BundleAnswer, BundleRequest, OpenAnswer
from tvm_flow.runtime.library import failure
from tvm_flow.runtime.timing import Timing, summarise
from tvm_flow.support import manifest
from tvm_flow.support.address import Address
from tvm_flow.support.errors import BoardError, NumericsError
from tvm_flow.targets import Board
from tvm_flow.tuning.worker.process import WorkerCrashed, WorkerExpired, WorkerProcess

_OPEN_S, _BUNDLE_S, _EAGER_S = 20.0, 300.0, 600.0
_DRIFT = 1.05
RUNS = 30
#: A comparison is waited for by a person: shorter than a tuner's.
PATIENCE = Patience(absent=60.0, taken=300.0)


@dataclass(frozen=True)
class BoardComparison:
    """One bundle on one board. Times are per run, by the board's clock.

    ``label``: ``measured``, or ``emulated``: then they say nothing about a board. ``eager``:
    PyTorch there, or ``None`` and ``eager_missing`` says why. ``max_rel_error``: of the bundle's
    outputs there against PyTorch's here; ``eager_max_rel_error``: against PyTorch's there.
    ``speedup``: eager's median over the bundle's. ``before``, ``after``: what the board told of
    itself (temperature in °C, clocks in MHz, governor). Where ``valid`` is false, ``reason`` says
    what was wrong with the conditions.
    """

    model: str
    target: str
    board: str
    threads: int
    label: str
    bundle: Timing
    max_rel_error: float
    eager_max_rel_error: float | None
    tolerance: float
    eager: Timing | None
    eager_missing: str
    torch: str
    speedup: float | None
    before: dict[str, Any]
    after: dict[str, Any]
    valid: bool
    reason: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "bundle": vars(self.bundle), "eager": self.eager and vars(self.eager)}


def compare_on_board(
    bundle: Path,
    board: Board,
    tracker: Address,
    key: str,
    *,
    program: Path | None,
    threads: int,
    runs: int = RUNS,
    on_wait: Callable[[str], None] | None = None,
    patience: Patience = PATIENCE,
) -> BoardComparison:
    """Run ``bundle`` on a board of ``key``, and eager there if PyTorch is installed there.

    ``program``: the network as ``torch.export.save`` writes it, for eager. ``on_wait``: see
    :class:`BoardPool`. Raises :class:`BoardError` (none there or free, lost, of another kind) and
    :class:`NumericsError` where the bundle's result on its sample is wrong there; what libtvm_flow
    there says of a bundle that it refuses; and what building that raises.
    """
    there = boards_of(tracker, key, board.arch)
    pool = BoardPool(
        tracker, key, patience, aside=foreign_boards(there, board.arch), on_wait=on_wait
    )
    info = manifest.read(bundle)
    sample = info.data["sample"]
    request = BundleRequest(
        directory=bundle.absolute(),
        library=board_library(board.arch, board.glibc_floor),
        layout=info.layout,
        inputs=tuple(sample["inputs"]),
        expected=tuple(sample["expected"]),
        program=program,
        threads=threads,
        cores=board.cores,
        runs=runs,
        eager_s=_EAGER_S,
    )
    status, answer = _ask(pool.find(), request, board, emulated=there[0].emulated)
    return _result(info, board, threads, status, answer)


def _ask(
    granted: GrantedBoard, request: BundleRequest, board: Board, *, emulated: bool
) -> tuple[dict[str, Any], BundleAnswer]:
    """What the board told of itself, and the answer."""
    place = granted.place
    with tempfile.TemporaryDirectory(prefix="tvm-flow-board-") as folder:
        worker = WorkerProcess(BOARD, (), {}, Path(folder) / "board.log")
        try:
            limit = _BUNDLE_S + (_EAGER_S if request.program else 0.0)
            opened = worker.request(granted.opening(limit), OpenAnswer, _OPEN_S)
            if not opened.ok:
                raise _failed(place, opened.cause)
            require_board(opened, board, emulated=emulated)
            answer = worker.request(request, BundleAnswer, limit)
        except (WorkerCrashed, WorkerExpired) as error:
            raise _failed(place, str(error)) from error
        finally:
            worker.stop()
    if answer.status == REFUSED:
        raise failure(answer.refusal, f"{place}: {answer.cause}")
    if answer.status == "timeout":
        raise _failed(place, f"it took longer than {limit:.0f} s", "fewer --rounds, or ")
    if not answer.ok:
        raise _failed(place, f"{answer.status}: {answer.cause}")
    return opened.board, answer


def _result(
    info: manifest.Manifest,
    board: Board,
    threads: int,
    status: dict[str, Any],
    answer: BundleAnswer,
) -> BoardComparison:
    eager = answer.eager
    _require_right(info, status.get("name") or board.name, answer)
    ours = summarise(answer.seconds)
    theirs = summarise(eager.seconds) if eager.seconds else None
    emulated = bool(status.get("emulated", False))
    reason = answer.invalid
    drift = answer.drift
    if not reason and drift is not None and not 1 / _DRIFT < drift < _DRIFT:
        reason = f"the bundle took {drift:.2f} times as long after eager as before"
    before, after = answer.board[0], answer.board[-1]
    return BoardComparison(
        model=info.model,
        target=board.name,
        board=str(status.get("name", "")),
        threads=threads,
        label="emulated" if emulated else "measured",
        bundle=ours,
        max_rel_error=answer.max_rel_error,
        eager_max_rel_error=eager.max_rel_error,
        tolerance=info.tolerance,
        eager=theirs,
        eager_missing=eager.missing,
        torch=eager.torch,
        speedup=theirs.median_ms / ours.median_ms if theirs else None,
        before=before,
        after=after,
        valid=not reason and not emulated,
        reason=reason or ("emulated: these times say nothing about a board" if emulated else ""),
        notes=_advice(before, emulated),
    )


def _require_right(info: manifest.Manifest, place: str, answer: BundleAnswer) -> None:
    """Raise :class:`NumericsError` where the bundle's outputs there are not PyTorch's here, or not
    PyTorch's there: then the times are of different networks."""
    error = answer.max_rel_error
    if not error <= info.tolerance:
        raise NumericsError(
            f"The bundle computes wrong values on {place}",
            why=f"max relative error {error:.2e}, allowed are {info.tolerance:.0e}",
            fix="compile it again; report it if that does not help",
        )
    error = answer.eager.max_rel_error or 0.0
    if not error <= info.tolerance:
        raise NumericsError(
            f"PyTorch on {place} computes something else than the bundle",
            why=f"max relative error {error:.2e}, allowed are {info.tolerance:.0e}",
            fix="name the model and the weights that the bundle was compiled from; report it if "
            "they are the same",
        )


def _advice(status: dict[str, Any], emulated: bool) -> tuple[str, ...]:
    return () if emulated else tuple(advice(status))


def _failed(place: str, cause: str, instead: str = "") -> BoardError:
    return BoardError(
        f"The comparison on {place} failed", why=cause,
        fix=f"{instead}tvm-flow boards check, then repeat it",
    )  # fmt: skip
