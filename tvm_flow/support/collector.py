"""Python's garbage collector in processes that import TVM and PyTorch."""

from __future__ import annotations

import atexit
import gc


def collect_seldom() -> None:
    """Collect garbage every twenty thousand new objects instead of every seven hundred, and let
    the end of the process collect nothing.

    Importing TVM and PyTorch makes a million objects, all of which stay. With Python's own
    thresholds a sixth of a command's time goes into looking at them again and again, and another
    tenth into looking at them one last time. What is in cycles is freed later, but still freed.
    """
    gc.set_threshold(20_000, 10, 10)
    atexit.register(gc.freeze)
