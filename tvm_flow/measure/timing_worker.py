"""One contestant of a timing, alone in its process: ``python -m tvm_flow.measure.timing_worker``.

The first message says on which cores, with how many threads and what to build; affinity and thread
limits are set before anything is imported that would start threads. Then it answers ``output`` and
``round`` requests until its input closes.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tvm_flow.support import channel
from tvm_flow.support.collector import collect_seldom
from tvm_flow.support.errors import TvmFlowError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS")
_WARM_UP_RUNS = 2  # after another contestant had the caches


class Runnable(Protocol):
    """What a factory returns: a network with its inputs in place."""

    def set_input(self, *arrays: NDArray[Any]) -> None: ...

    def run(self) -> object:
        """One run, timed as it is."""

    def output(self) -> NDArray[Any] | Sequence[NDArray[Any]]:
        """Run once and return the result, or all of them where the network has several."""


def timed_round(runnable: Runnable, seconds: float) -> list[float]:
    """Times of single runs in seconds: for ``seconds`` after the warm-up, and at least three."""
    for _ in range(_WARM_UP_RUNS):
        runnable.run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        runnable.run()
        stop = time.perf_counter()
        times.append(stop - start)
        if stop >= end and len(times) >= 3:
            return times


def _build(message: channel.Message) -> Runnable:
    os.sched_setaffinity(0, message["cores"])
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(message["threads"])))
    module, _, name = message["factory"].partition(":")
    factory = getattr(importlib.import_module(module), name)
    runnable: Runnable = factory(threads=message["threads"], **message["options"])
    gc.disable()  # a collection in the middle of a run is not the network's time
    return runnable


def _answer(runnable: Runnable, message: channel.Message) -> channel.Message:
    if message["do"] == "round":
        return {"times": timed_round(runnable, message["seconds"])}
    with np.load(message["inputs"]) as given:
        runnable.set_input(*(given[name] for name in given.files))
    if message["do"] == "output":
        result = runnable.output()
        np.savez(message["outputs"], *(result if isinstance(result, tuple | list) else [result]))
    return {}


def _end_with_parent() -> None:
    """Have this process killed when the one that started it ends, however that happens: while it
    is stopped, because another is timed, it would never see its input close."""
    pr_set_pdeathsig = 1  # sys/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def main() -> None:
    """Serve requests from standard input."""
    _end_with_parent()
    collect_seldom()
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # prints of libraries are not replies
    requests = sys.stdin.fileno()
    try:
        runnable = _build(channel.receive(requests))
        channel.send(replies, {"ready": True})
        while True:
            channel.send(replies, _answer(runnable, channel.receive(requests)))
    except channel.Closed:
        return
    except TvmFlowError as error:
        channel.send(replies, {"error": type(error).__name__, "message": str(error)})
    except Exception as error:  # reported with its type; the traceback goes to the log
        channel.send(
            replies, {"error": "MeasurementError", "message": f"{type(error).__name__}: {error}"}
        )
        raise


if __name__ == "__main__":
    main()
