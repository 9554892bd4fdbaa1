"""Cases in forks of this process, so that a crash or a hang costs one case, and imports nothing.

The forking process must have imported what cases need, and must have no threads.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.suites.cases import BADLY, Case, Entry, Outcome, Suite, entry_of

#: A case that takes longer hangs.
TIMEOUT_S = 120.0
#: Cases of one process: what TVM and PyTorch keep grows.
_BATCH = 150

Done = dict[str, Outcome]


def run(
    suite: Suite,
    wanted: Collection[str] | None = None,
    tell: Callable[[str, Outcome, float], None] | None = None,
) -> Done:
    """What becomes of the cases ``wanted``, all by default; ``tell`` hears of each when it ends,
    with the seconds it took."""
    assert len(os.listdir("/proc/self/task")) == 1, "threads do not survive a fork"
    gc.collect()
    gc.freeze()
    entries = suite.entries()
    if wanted is not None:
        names = {entry_of(key) for key in wanted}
        entries = [entry for entry in entries if entry.name in names]
    progress = _Progress(entries, wanted, {}, tell)
    while progress.entries:
        _one_process(progress)
    return progress.done


@dataclass
class _Progress:
    """``entries`` are those left; of the first some cases may be ``done``."""

    entries: list[Entry]
    wanted: Collection[str] | None
    done: Done
    tell: Callable[[str, Outcome, float], None] | None
    skipped: set[str] | None = None

    def finish(self, key: str, outcome: Outcome | None, seconds: float) -> None:
        if outcome is None:
            self.skip(key)
            return
        self.done[key] = outcome
        if self.tell:
            self.tell(key, outcome, seconds)

    def skip(self, key: str) -> None:
        self.skipped = {*(self.skipped or ()), key}

    def is_open(self, key: str) -> bool:
        known = key in self.done or key in (self.skipped or ())
        return not known and (self.wanted is None or key in self.wanted)


def _one_process(progress: _Progress) -> None:
    """Fork, and read what the child says until it ends or takes too long over a case."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reader)
        _child(progress, writer)
    os.close(writer)
    current, since = progress.entries[0].name, time.monotonic()
    why = ""
    for line in _lines(reader):
        if line is None:
            os.killpg(pid, signal.SIGKILL)
            why = f"no answer within {TIMEOUT_S:.0f} s"
            break
        message = json.loads(line)
        now = time.monotonic()
        if "outcome" in message:
            outcome = message["outcome"] and Outcome(**message["outcome"])
            progress.finish(current, outcome, now - since)
        elif "finished" in message:  # an entry
            progress.entries.pop(0)
            current = progress.entries[0].name if progress.entries else ""
        else:
            current = message["key"]
        since = now
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0 and not why:
        return
    progress.finish(current, Outcome(BADLY, why or f"the process ends with {code}"), 0.0)
    if "/" not in current:  # it is the making of the entry's cases that fails
        progress.entries.pop(0)


def _lines(reader: int) -> Iterator[str | None]:
    """Lines, and ``None`` where the next one takes too long."""
    pending = b""
    while True:
        ready, _, _ = select.select([reader], [], [], TIMEOUT_S)
        if not ready:
            yield None
            return
        if not (chunk := os.read(reader, 1 << 16)):
            return
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


def _child(progress: _Progress, writer: int) -> None:
    """Never returns."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)

    def say(**message: object) -> None:
        os.write(writer, (json.dumps(message) + "\n").encode())

    count = 0
    with tempfile.TemporaryDirectory(prefix="tvm-flow-suite-") as folder:
        for entry in progress.entries:
            for case in entry.cases():
                if not progress.is_open(case.key):
                    continue
                say(key=case.key)
                work = Path(folder, str(count))
                work.mkdir()
                outcome = _outcome(case, work)
                say(outcome=outcome and vars(outcome))
                count += 1
            say(finished=entry.name)
            if count >= _BATCH:
                break
    os._exit(0)


def _outcome(case: Case, work: Path) -> Outcome | None:
    try:
        return case.run(work)
    except BaseException as error:  # what a case ends in is what is asked
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return Outcome(BADLY, f"{type(error).__name__} at {place}: {error}")
