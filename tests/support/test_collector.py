"""Garbage is still collected, but not every seven hundred objects, nor at the very end."""

from __future__ import annotations

import subprocess
import sys

from tvm_flow.support.resources import checkout

PROGRAM = """
import atexit, gc, weakref
from tvm_flow.support.collector import collect_seldom

class Cycle:
    def __init__(self):
        self.me = self

atexit.register(lambda: print(gc.get_freeze_count() > 1000))  # after what is registered later
collect_seldom()
first = weakref.ref(Cycle())
kept = [[] for _ in range(10_000)]
print(first() is None)
kept += [[] for _ in range(20_000)]
print(first() is None)
"""


def test_what_is_in_cycles_is_freed_later_but_freed() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=checkout())
    assert done.stdout.split() == ["False", "True", "True"]
