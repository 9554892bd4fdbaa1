"""``tune``: measure candidates for every kernel of a network and record what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tvm_flow.api.boards import board_of, store_of
from tvm_flow.api.values import (
    ModelLike,
    TargetLike,
    Tracker,
    target_value,
    tracker_value,
)
from tvm_flow.remote.client import boards_of
from tvm_flow.support.address import parse_address
from tvm_flow.support.errors import UsageError
from tvm_flow.targets import Board
from tvm_flow.tuning.options import check_limits

if TYPE_CHECKING:
    from tvm_flow.tuning.records.store import RecordStore
    from tvm_flow.tuning.search.report import OnEvent as OnEvent
    from tvm_flow.tuning.search.report import TaskReport as TaskReport
    from tvm_flow.tuning.search.report import TuneEvent as TuneEvent
    from tvm_flow.tuning.search.report import TuneReport as TuneReport
    from tvm_flow.tuning.worker.bench import Bench

#: Where candidates' times come from.
RUNNERS = ("measured", "modelled")


def prepare(
    target: TargetLike,
    trials: int | None,
    minutes: float | None,
    threads: int,
    records: str | Path | None,
) -> tuple[Board, RecordStore]:
    """The board and its records, for arguments as :func:`tune` takes them.

    Raises :class:`UsageError`, :class:`TargetError`, :class:`RecordError`.
    """
    check_limits(trials, minutes)
    board = board_of(target, threads)
    return board, store_of(board, records, target_value(target).device)


def tune(
    model: ModelLike,
    *,
    target: TargetLike = "native",
    trials: int | None = None,
    minutes: float | None = None,
    threads: int = 1,
    records: str | Path | None = None,
    seed: int = 0,
    tracker: str | Tracker | None = None,
    runner: str = "measured",
    on_event: OnEvent | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> TuneReport:
    """Tune the kernels of a network: here, on boards behind a tracker, or by a model of a board.

    Parameters
    ----------
    model: as for :func:`tvm_flow.trace`.
    trials: total number of trials, those recorded before included.
    minutes: limit of wall time of this run. With neither limit, tuning ends when nothing improves.
    threads: worker threads the kernels are tuned for.
    records: folder with one folder of tuning records per board, which tuning adds to and goes on
        from (default: see :func:`tvm_flow.api.boards.records_root`).
    seed: of the search.
    tracker: ``HOST:PORT`` of the RPC tracker the boards are registered with, or a
        :class:`tvm_flow.Tracker` with their key; all boards of the key are used at once.
    runner: ``"measured"`` on this machine's cores, or ``"modelled"``: candidates for an AArch64
        board are emulated, checked and ranked by a model of its core; their records say so.
    on_event: called after every trial; :class:`tvm_flow.cli.progress.Progress` is one.
    on_wait: called with what is waited for where others use the boards before the first trial.

    Ctrl-C ends it early; the report then says ``interrupted`` and every record is kept. Raises
    :class:`UsageError`, :class:`ModelError`, :class:`RecordError` (damaged, or in use by another
    tuner), :class:`BoardError` (no board, or lost for good) and :class:`TuningError` where not one
    kernel could be measured.
    """
    board, store = prepare(target, trials, minutes, threads, records)
    bench = bench_of(board, threads, runner=runner, tracker=tracker, on_wait=on_wait)
    # TVM and torch take seconds to import: what can be refused without them is refused by now
    from tvm_flow.api.networks import load_model, optimised  # noqa: PLC0415
    from tvm_flow.backends import backend_of  # noqa: PLC0415
    from tvm_flow.tuning.search.tuner import tune_tasks  # noqa: PLC0415

    backend = backend_of(target_value(target).device)
    # whoever tunes a graph that was imported wrongly tunes the wrong kernels
    checked = optimised(load_model(model), backend, board, "NCHW")
    return tune_tasks(
        backend.tasks(checked.graph, backend.device(board, threads)),
        board,
        backend=backend,
        store=store,
        trials=trials,
        minutes=minutes,
        threads=threads,
        seed=seed,
        on_event=on_event,
        bench=bench,
    )


def bench_of(
    board: Board,
    threads: int,
    *,
    runner: str,
    tracker: str | Tracker | None,
    on_wait: Callable[[str], None] | None = None,
) -> Bench | None:
    """Where to measure: boards behind ``tracker``, a model, or ``None`` for this machine.

    Raises :class:`UsageError` for what does not go together, :class:`BoardError` where the tracker
    has no such board, and :class:`EnvironmentFault` where the model's tools are missing.
    """
    if runner not in RUNNERS:
        raise UsageError(f"Unknown runner {runner!r}", fix=f"one of {', '.join(RUNNERS)}")
    if runner == "modelled":
        if tracker is not None:
            raise UsageError(
                "--runner modelled needs no tracker", fix="leave one of --runner and --tracker out"
            )
        from tvm_flow.modelled.bench import ModelledBench  # noqa: PLC0415 - imports TVM

        modelled = ModelledBench()
        modelled.plan(board, threads)
        return modelled
    if tracker is None:
        return None
    there = tracker_value(tracker)
    address, key = parse_address(there.address), there.key or board.name
    boards_of(address, key, board.arch)
    from tvm_flow.remote.bench import BoardBench  # noqa: PLC0415 - imports TVM

    return BoardBench(address, key, on_wait=on_wait)
