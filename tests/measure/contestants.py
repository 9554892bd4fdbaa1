"""Competitors of known speed for worker processes; imports nothing large."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

from tvm_flow.support.errors import ModelError

Array = NDArray[np.float32]


class Busy:
    """Computes for a given time; its output says where and with how many threads."""

    def __init__(self, milliseconds: float, threads: int) -> None:
        self._seconds, self._threads = milliseconds / 1e3, threads

    def set_input(self, array: Array) -> None:
        self._input = array

    def run(self) -> None:
        end = time.perf_counter() + self._seconds
        while time.perf_counter() < end:
            pass

    def output(self) -> Array:
        facts = [len(os.sched_getaffinity(0)), self._threads, int(os.environ["OMP_NUM_THREADS"])]
        return np.array([*facts, self._input.sum()], np.float32)


def busy(*, threads: int, milliseconds: float) -> Busy:
    return Busy(milliseconds, threads)


def failing(*, threads: int) -> Busy:
    raise ModelError(f"no such model for {threads} thread(s)")


def crashing(*, threads: int) -> Busy:
    os._exit(threads)
