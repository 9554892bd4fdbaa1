"""One tuner in its own process, telling how it gets on: a JSON object a line, see :class:`Point`.

``python -m benchmarks.tuners TUNER MODEL SECONDS THREADS FOLDER`` with ``ours`` or ``stock``, from
empty records in FOLDER.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks import networks
from tvm_flow import targets

TRIALS = 1_000_000  # more than fit into any time


@dataclass(frozen=True)
class Point:
    """State ``seconds`` after tuning began. ``trials`` counts candidates that were measured or
    failed; ``latency_ms`` is the sum over all tasks of best time times number of uses, ``None``
    until each of the ``tasks`` has one (``covered`` have): an estimate of the network's."""

    seconds: float
    trials: int
    covered: int
    tasks: int
    latency_ms: float | None


class Reporter:
    """Writes points; the clock starts with the object."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._start = stream, time.monotonic()

    def __call__(self, trials: int, parts: Sequence[tuple[int, float | None]]) -> None:
        """``parts``: uses and best seconds of every task."""
        known = [count * best for count, best in parts if best is not None]
        latency = 1e3 * sum(known) if len(known) == len(parts) else None
        seconds = time.monotonic() - self._start
        point = Point(round(seconds, 3), trials, len(known), len(parts), latency)
        print(json.dumps(asdict(point)), file=self._stream, flush=True)


def ours(model: str, seconds: float, threads: int, folder: Path, report: Reporter) -> None:
    """``tvm_flow.tune`` as a user calls it."""
    import tvm_flow  # noqa: PLC0415
    from tvm_flow.tuning.search.report import TuneEvent  # noqa: PLC0415

    def tell(event: TuneEvent) -> None:
        best: dict[str, tuple[int, float | None]] = {}  # the fastest way to compute each layer
        for task in event.report.tasks:
            if task.task.parts:
                continue  # the parts count
            known = best.get(task.task.problem.key, (0, None))[1]
            times = [seconds for seconds in (known, task.best_s) if seconds is not None]
            best[task.task.problem.key] = task.task.count, min(times, default=None)
        report(event.report.measured, list(best.values()))

    case = networks.case(model)
    tvm_flow.tune(
        tvm_flow.Model(case.module(), input_shape=case.shape),
        minutes=seconds / 60,
        threads=threads,
        records=folder,
        on_event=tell,
    )


def stock(model: str, threads: int, folder: Path, report: Reporter) -> None:
    """MetaSchedule as it comes, after TVM's own pipeline. It has no limit of time: the process is
    to be ended from outside."""
    mod, target = _stock_module(model, threads)
    # Here and not above: importing it is part of what makes the stock tuner what it is, and our
    # own process must not pay for it.
    from tvm.s_tir.meta_schedule import measure_callback, relax_integration  # noqa: PLC0415

    uses = [int(task.weight) for task in relax_integration.extract_tasks(mod, target, {})]
    progress = Progress(uses, report)
    relax_integration.tune_relax(
        mod,
        {},
        target,
        work_dir=str(folder),
        max_trials_global=TRIALS,
        runner=_counting_runner(progress),
        measure_callbacks=[
            *measure_callback.MeasureCallback.create("default"),
            _watcher(progress),
        ],
    )


def _stock_module(model: str, threads: int) -> tuple[Any, Any]:
    """The network as TVM's importer and its standard passes leave it, and the target."""
    import torch  # noqa: PLC0415
    from tvm import relax  # noqa: PLC0415
    from tvm.relax.frontend.torch import from_exported_program  # noqa: PLC0415
    from tvm.target import Target  # noqa: PLC0415

    case = networks.case(model)
    board = dataclasses.replace(targets.load("native"), threads=threads)
    target = Target(board.tvm_target())
    with torch.no_grad():
        program = torch.export.export(case.module(), (torch.zeros(case.shape),))
    with target:
        return relax.get_pipeline("zero")(from_exported_program(program)), target


class Progress:
    """Trials run so far and the best time of each task, reported whenever one of them changes.

    The tuner looks at the times of a batch only when it comes back to the task: in its first round,
    a batch of every task, it has trials but no times yet.
    """

    def __init__(self, uses: Sequence[int], report: Reporter) -> None:
        self._uses, self._report, self._trials = uses, report, 0
        self._best: list[float | None] = [None] * len(uses)
        self._tell()

    def ran(self, trials: int) -> None:
        """So many candidates more were measured or failed."""
        self._trials += trials
        self._tell()

    def learnt(self, task: int, seconds: Sequence[float]) -> None:
        """Times of a batch of ``task``."""
        known = self._best[task]
        self._best[task] = min([*seconds, *([] if known is None else [known])], default=None)
        self._tell()

    def _tell(self) -> None:
        self._report(self._trials, list(zip(self._uses, self._best, strict=True)))


def _counting_runner(progress: Progress) -> Any:
    """MetaSchedule's own runner of this machine; what it ran is counted when it has run."""
    from tvm.ir.utils import derived_object  # noqa: PLC0415
    from tvm.s_tir.meta_schedule.runner import LocalRunner, PyRunner  # noqa: PLC0415

    inner = LocalRunner()

    @derived_object
    class Counting(PyRunner):
        def run(self, runner_inputs: Any) -> Any:
            futures = inner.run(runner_inputs)  # measures before it returns
            progress.ran(len(runner_inputs))
            return futures

    return Counting()


def _watcher(progress: Progress) -> Any:
    """A MetaSchedule callback: times of a batch, once the tuner has taken notice of them."""
    from tvm.ir.utils import derived_object  # noqa: PLC0415
    from tvm.s_tir.meta_schedule.measure_callback import PyMeasureCallback  # noqa: PLC0415

    @derived_object
    class Watcher(PyMeasureCallback):
        def apply(self, scheduler: Any, task: int, candidates: Any, built: Any, ran: Any) -> None:
            runs = [
                [float(second) for second in result.run_secs]
                for result in ran or ()
                if result.error_msg is None and result.run_secs
            ]
            progress.learnt(task, [sum(seconds) / len(seconds) for seconds in runs])

    return Watcher()


def main() -> None:
    tuner, model, seconds, threads, folder = sys.argv[1:]
    # Reports go to what was standard output; what the tuners print goes to standard error.
    report = Reporter(os.fdopen(os.dup(sys.stdout.fileno()), "w"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if tuner == "ours":
        ours(model, float(seconds), int(threads), Path(folder), report)
    else:
        stock(model, int(threads), Path(folder), report)


if __name__ == "__main__":
    main()
