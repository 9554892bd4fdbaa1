"""Contestants for tests of the race itself."""

from __future__ import annotations

import os
import time

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Sleeper:
    """Adds one after a while, and says on how many cores it may run."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._input = seconds, np.zeros(1, np.float32)

    def set_input(self, array: Array) -> None:
        self._input = array

    def run(self) -> None:
        time.sleep(self._seconds)

    def output(self) -> Array:
        return self._input + np.float32(len(os.sched_getaffinity(0)))


def contestant(*, threads: int, seconds: float) -> Sleeper:
    return Sleeper(seconds)


def broken(*, threads: int) -> Sleeper:
    raise RuntimeError(f"no kernel for {threads} thread(s)")


def hungry(*, threads: int, mebibytes: int) -> Sleeper:
    np.ones(mebibytes * 2**17).sum()
    return Sleeper(0.001)
