"""Commands of ``tvm-flow`` in forks of one process that has imported TVM and torch already.

A command is a process of its own here, with its own standard streams, environment, directory and
exit code, and runs the same ``main``; only the three seconds of imports are shared. Tests about
starting and ending, and one of every verb and exit code, start a real one instead.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.torch_operators import look_up_operators_once
from tvm_flow.cli import main
from tvm_flow.support.collector import collect_seldom

ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]


class Nursery:
    """The process that forks, started with the first command."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path | None,
        environment: Mapping[str, str],
        timeout_s: float,
    ) -> Done:
        """``tvm-flow`` with ``arguments``, to its end."""
        words = ["tvm-flow", *map(str, arguments)]
        with self._lock, tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            order = {"argv": words[1:], "cwd": str(cwd or Path.cwd()), "env": dict(environment),
                     "out": str(out), "err": str(err)}  # fmt: skip
            answer = self._ask(json.dumps(order), timeout_s)
            if not answer:
                raise subprocess.TimeoutExpired(words, timeout_s)
            return subprocess.CompletedProcess(words, int(answer), out.read_text(), err.read_text())

    def _ask(self, order: str, timeout_s: float) -> str:
        """The answer, or nothing where there was none in time: a new process is started then."""
        process = self._start()
        late = threading.Timer(timeout_s, os.killpg, (process.pid, signal.SIGKILL))
        late.daemon = True
        late.start()
        answer = ""
        try:
            process.stdin.write(order + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        finally:
            late.cancel()
            if not answer:  # also where pytest's own time limit ended the test
                self.stop()
        return answer

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forked"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip
        return self._process

    def stop(self) -> None:
        """End it and whatever it is running."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


NURSERY = Nursery()


def _serve() -> None:
    collect_seldom()
    orders, answers = sys.stdin, os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import torch  # noqa: PLC0415

    import tvm_flow.api.compile  # noqa: PLC0415
    import tvm_flow.cli.app  # noqa: PLC0415

    look_up_operators_once()
    # what torch.export imports late is half of what it imports
    tvm_flow.trace(tvm_flow.Model(torch.nn.Conv2d(3, 4, 3).eval(), input_shape=(1, 3, 8, 8)))
    assert len(os.listdir("/proc/self/task")) == 1, "threads do not survive a fork"
    gc.collect()
    gc.freeze()  # forks then share what is imported
    while line := orders.readline():
        if (pid := os.fork()) == 0:
            code = _child(json.loads(line))
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # taking all modules apart would take longer than the command
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _child(order: dict[str, Any]) -> int:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    try:
        return main(order["argv"])
    except Exception:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    _serve()
