"""Shows a tuner run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tvm_flow.api.tune import TaskReport, TuneEvent, TuneReport

_LINE_EVERY_S = 10.0
_NAME_WIDTH = 30
_OTHER_LINES = 9  # of the screen: head, border, summary


class Progress:
    """Context manager and ``on_event`` of :func:`~tvm_flow.tuning.search.tuner.tune_tasks`."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live: Live | None = None
        self._last_line = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: TuneEvent) -> None:
        if self._live is not None:
            rows = max(3, self._console.height - _OTHER_LINES)
            self._live.update(render(event.report, rows), refresh=event.kind == "stop")
            return
        now = time.monotonic()
        if event.kind in ("trial", "note") and now - self._last_line < _LINE_EVERY_S:
            return
        self._last_line = now
        about = f"{event.workload.short_name}: " if event.workload else ""
        head = "" if event.kind == "trial" else f"{event.kind}: {about}{event.message}; "
        self._console.print(head + summary(event.report), soft_wrap=True, highlight=False)


#: What is said wherever times are shown that no clock of the board gave.
_MEANING = {
    "emulated": "these times say nothing about a board",
    "modelled": "these times rank candidates, no clock gave them",
}


def render(report: TuneReport, rows: int = 1000) -> Group:
    """Table of tasks, those with most time first, and a summary; 80 columns wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("task", width=_NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    for title in ("runs", "trials", "default", "best", "gain", "GFLOP/s", "peak"):
        table.add_column(title, justify="right", no_wrap=True)
    tasks = sorted(report.tasks, key=lambda t: t.task.count * (t.best_s or 0.0), reverse=True)
    for task in tasks[:rows]:
        table.add_row(*_row(task), style="" if task.state == "active" else "dim")
    more = [Text(f"… and {len(tasks) - rows} more tasks", "dim")] if len(tasks) > rows else []
    return Group(
        table, *more, Text(summary(report)), *(Text(note, "yellow") for note in report.notes)
    )


def _row(task: TaskReport) -> list[str]:
    percent = task.percent_of_peak
    return [
        task.task.workload.short_name,
        str(task.task.count),
        str(task.trials),
        _time(task.default_s),
        _time(task.best_s),
        f"{task.speedup:.2f}x" if task.speedup else "-",
        f"{task.gflops:.1f}" if task.gflops else "-",
        f"{percent:.0f}%" if percent else "-",
    ]


def summary(report: TuneReport) -> str:
    """State of the whole run in one paragraph."""
    wanted = f"/{report.target}" if report.target else ""
    parts = [
        f"{report.total}{wanted} trials ({report.measured} now, {report.trials_per_minute:.0f}/min)"
    ]
    if report.failures:
        failed = ", ".join(f"{count} {status}" for status, count in report.failures.most_common())
        parts.append(f"failed: {failed}")
    before, after = report.default_latency_s, report.best_latency_s
    if before and after:
        gain = before / after
        parts.append(f"network about {_time(before)} -> {_time(after)} ({gain:.2f}x, estimated)")
    if report.label in _MEANING:
        parts.append(f"{report.label}: {_MEANING[report.label]}")
    if report.phase == "done":
        parts.append(f"{report.stopped} after {_duration(report.seconds)}")
    elif report.phase == "final":
        parts.append("comparing the best with the default")
    elif report.eta_s is not None:
        parts.append(f"{_duration(report.eta_s)} left")
    return "; ".join(parts)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1e3 * seconds:.2f}ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f}us"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
