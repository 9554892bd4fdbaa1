"""Real trackers, servers and tuners for the tests of faults."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.boards.farm import RUN_MODULE, Tracker, descendants, kill_tree, until
from tvm_flow import targets
from tvm_flow.boards.emulate import NativeBoard
from tvm_flow.ir.tasks import Task
from tvm_flow.remote import client
from tvm_flow.remote.bench import BoardBench
from tvm_flow.remote.board_pool import Patience
from tvm_flow.schedules.contract.problem import Workload
from tvm_flow.support.address import parse_address
from tvm_flow.targets import Board
from tvm_flow.tuning.options import TuneOptions
from tvm_flow.tuning.records.store import RecordStore
from tvm_flow.tuning.search.report import TuneEvent, TuneReport
from tvm_flow.tuning.search.tuner import tune_tasks

BOARD = targets.load("native")
QUICK = TuneOptions(trial_budget_s=0.003, trial_timeout_s=1.0, final_rounds=3)
HURRY = Patience(absent=5.0, taken=12.0)
ROOT = Path(__file__).parents[2]
_KEYS = itertools.count()


class FlowTracker(Tracker):
    """``tvm-flow tracker`` instead of TVM's."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__("::1" if host == "::1" else "127.0.0.1")
        self._host = host

    def start(self) -> None:
        place = ["--host", self._host, "--port", str(self.port)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tvm_flow", "tracker", *place],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
        until(self._answers, 60)


class Lab:
    """A tracker, boards of one key, and a folder of records."""

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder = tracker, folder
        self.key = f"lab{next(_KEYS)}"
        self.boards: list[NativeBoard] = []

    def board(self, **options: Any) -> NativeBoard:
        """One more board, registered."""
        made = NativeBoard("native", self.tracker.address, key=self.key, **options)
        self.boards.append(made)
        return made.start()

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        threading.Timer(seconds, action).start()

    def tune(
        self,
        *works: Workload,
        trials: int | None = 12,
        on_event: Callable[[TuneEvent], None] | None = None,
        patience: Patience = HURRY,
        folder: Path | None = None,
        board: Board = BOARD,
        trial_timeout_s: float = QUICK.trial_timeout_s,
    ) -> TuneReport:
        """Tune on the lab's boards."""
        return tune_tasks(
            [Task(work) for work in works],
            board,
            store=RecordStore(folder or self.folder, BOARD.log_name),
            trials=trials,
            early_stop=None,
            options=replace(QUICK, trial_timeout_s=trial_timeout_s),
            on_event=on_event,
            bench=BoardBench(parse_address(self.tracker.address), self.key, patience),
        )

    def records(self) -> list[Any]:
        return [r for r in RecordStore(self.folder).records if r.stage == "search"]

    def close(self) -> None:
        for board in self.boards:
            freeze(board, signal.SIGCONT)
            board.kill()


@contextmanager
def stock_server(lab: Lab) -> Iterator[None]:
    """TVM's own RPC server, registered with the lab's tracker under its key."""
    server = subprocess.Popen(
        [sys.executable, "-c", RUN_MODULE, "tvm.exec.rpc_server", "--host", "127.0.0.1",
         "--tracker", lab.tracker.address, "--key", lab.key],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
    )  # fmt: skip
    try:
        until(lambda: client.summary(parse_address(lab.tracker.address)).of(lab.key), 60)
        yield
    finally:
        kill_tree(server.pid)
        server.wait()


def freeze(board: NativeBoard, number: int = signal.SIGSTOP) -> None:
    """Stop a board's server and its sessions, or let them go on."""
    if board.process is None or board.process.poll() is not None:
        return
    for pid in (board.process.pid, *descendants(board.process.pid)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def at_trial(number: int, action: Callable[[], object]) -> Callable[[TuneEvent], None]:
    """An observer of a tuner that does something once, after so many trials."""
    done: list[bool] = []

    def watch(event: TuneEvent) -> None:
        if event.kind == "trial" and event.report.measured >= number and not done:
            done.append(True)
            action()

    return watch


class Background:
    """``action`` in another thread; what it raises, :meth:`join` raises."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, args=(action,))
        self._thread.start()

    def _run(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as error:
            self._errors.append(error)

    def join(self, timeout_s: float = 90.0) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()
        if self._errors:
            raise self._errors[0]
