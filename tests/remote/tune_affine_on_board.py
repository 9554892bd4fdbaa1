"""Tunes a small workload on a board: ``python tune_affine_on_board.py FOLDER TRACKER KEY``.

After each trial it waits for a line of input: whoever ends it finds it in the middle of its work,
not done with all 25 choices.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tvm_flow.support.without_torch import without_torch

with without_torch():  # it has no use here
    from tests.boards.farm import Tracker
    from tests.remote.lab import Lab
    from tests.tuning.faulty_family import workload
    from tvm_flow.tuning.search.report import TuneEvent


def show(event: TuneEvent) -> None:
    if event.kind == "trial":
        print("trial", event.report.measured, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    tracker = Tracker()
    tracker.address = sys.argv[2]
    lab = Lab(tracker, Path(sys.argv[1]))
    lab.key = sys.argv[3]
    lab.tune(workload(1 << 14), trials=25, on_event=show)
