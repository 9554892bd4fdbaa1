"""Processes of our own that run Python."""

from __future__ import annotations

import os
import sys


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment, in which Python finds what this process does, in the same order.

    What came into ``PYTHONPATH`` after this process had started goes first. ``more`` is added, or
    replaces what is there.
    """
    known = [entry or os.getcwd() for entry in sys.path]
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([*(e for e in named if e and e not in known), *known])
    return {**os.environ, "PYTHONPATH": path, **more}
